"""Federated methods and their registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedfr.core.registry import Entry, Extensions, Registry

if TYPE_CHECKING:
    from fedfr.federation.method import Method

__all__ = ["METHODS"]


def __dir__() -> list[str]:
    return sorted(__all__)


def _accept(value: Any) -> type[Method] | None:
    from fedfr.federation.method import Method

    return value if isinstance(value, type) and issubclass(value, Method) else None


METHODS: Registry[type[Method]] = Registry(
    "method",
    (
        Entry("published", "fedfr.methods.published:Published", "the checkpoint of model.start, without any training"),
        Entry("pretrained", "fedfr.methods.pretrained:Pretrained", "the starting model, trained only on public faces"),
        Entry(
            "frozen-head",
            "fedfr.methods.frozen_head:FrozenHead",
            "every client trains a DFC head on features of the starting model; nothing is shared",
        ),
        Entry(
            "local",
            "fedfr.methods.local_only:Local",
            "every client trains alone on its own faces; nothing is shared",
        ),
        Entry(
            "local-fedfr",
            "fedfr.methods.local_fedfr:LocalFedFR",
            "FedFR at every client alone; nothing is shared",
        ),
        Entry(
            "centralized",
            "fedfr.methods.centralized:Centralized",
            "training on all faces pooled in one place: the upper bound without privacy",
        ),
        Entry(
            "centralized-private",
            "fedfr.methods.centralized_private:CentralizedPrivate",
            "centralized training without the public faces",
        ),
        Entry(
            "fedavg",
            "fedfr.methods.fedavg:FedAvg",
            "averages models trained on private faces",
            "McMahan et al., AISTATS 2017",
        ),
        Entry(
            "fedavg-public",
            "fedfr.methods.fedavg_public:FedAvgPublic",
            "FedAvg with random public faces, as many as FedFR's hard negatives",
        ),
        Entry(
            "fedprox",
            "fedfr.methods.fedprox:FedProx",
            "FedAvg with a penalty on the distance to the round's model",
            "Li et al., MLSys 2020, arXiv 1812.06127",
        ),
        Entry(
            "moon",
            "fedfr.methods.moon:Moon",
            "FedAvg with a contrastive term towards the global and away from the previous local model",
            "Li, He, Song, CVPR 2021, arXiv 2103.16257",
        ),
        Entry(
            "moon-projection",
            "fedfr.methods.moon:MoonProjection",
            "MOON with its projection head",
            "Li, He, Song, CVPR 2021, arXiv 2103.16257",
        ),
        Entry(
            "fedface",
            "fedfr.methods.fedface:FedFace",
            "FedAvg with prototypes spread out by the server, which receives them: not private",
            "Aggarwal et al., IJCB 2021, arXiv 2104.03008",
        ),
        Entry(
            "fedper",
            "fedfr.methods.fedper:FedPer",
            "shares the body; every client keeps its last layers",
            "Arivazhagan et al. 2019, arXiv 1912.00818",
        ),
        Entry(
            "lg-fedavg",
            "fedfr.methods.lg_fedavg:LGFedAvg",
            "shares the last layers; every client keeps its body",
            "Liang et al. 2020, arXiv 2001.01523",
        ),
        Entry(
            "fedrep",
            "fedfr.methods.fedrep:FedRep",
            "FedPer with head and body trained in turn",
            "Collins et al., ICML 2021, arXiv 2102.07078",
        ),
        Entry(
            "ditto",
            "fedfr.methods.ditto:Ditto",
            "FedAvg, with a personal model per client regularized towards the shared one",
            "Li et al., ICML 2021, arXiv 2012.04221",
        ),
        Entry(
            "finetune",
            "fedfr.methods.finetune:FineTune",
            "FedAvg, then local fine-tuning at every client",
            "Yu et al. 2020, arXiv 2002.04758",
        ),
        Entry(
            "distill",
            "fedfr.methods.distill:Distill",
            "FedAvg, then fine-tuning with distillation from the shared model",
            "Yu et al. 2020, arXiv 2002.04758",
        ),
        Entry(
            "finetune-fedfr",
            "fedfr.methods.tuned_fedfr:FineTuneFedFR",
            "FedFR without DFC, then local fine-tuning at every client",
            "Liu et al., AAAI 2022, table 2",
        ),
        Entry(
            "distill-fedfr",
            "fedfr.methods.tuned_fedfr:DistillFedFR",
            "FedFR without DFC, then fine-tuning with distillation from the shared model",
            "Liu et al., AAAI 2022, table 2",
        ),
        Entry(
            "branch-cosface",
            "fedfr.methods.branch_cosface:BranchCosFace",
            "FedFR with a CosFace branch in place of one-vs-all",
            "Liu et al., AAAI 2022, table 2",
        ),
        Entry(
            "fedfr-hn",
            "fedfr.methods.ablations:HardNegatives",
            "FedFR with hard negatives only",
            "Liu et al., AAAI 2022, table 1",
        ),
        Entry(
            "fedfr-hn-con",
            "fedfr.methods.ablations:HardNegativesContrastive",
            "FedFR without DFC",
            "Liu et al., AAAI 2022, table 1",
        ),
        Entry(
            "fedfr-hn-dfc",
            "fedfr.methods.ablations:WithoutContrastive",
            "FedFR without the contrastive term",
            "Liu et al., AAAI 2022",
        ),
        Entry(
            "fedfr-con-dfc",
            "fedfr.methods.ablations:WithoutHardNegatives",
            "FedFR without hard negatives",
            "Liu et al., AAAI 2022",
        ),
        Entry(
            "fedfr",
            "fedfr.methods.fedfr:FedFR",
            "hard negatives, contrastive regularization and decoupled feature customization",
            "Liu et al., AAAI 2022, arXiv 2112.12496",
        ),
    ),
    Extensions("fedfr.methods", "a subclass of fedfr.federation.method.Method", _accept),
)
