"""FedFR: hard negatives, contrastive regularization, decoupled feature customization (Liu et al., AAAI 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field

from fedfr.config.schema import Settings
from fedfr.core.rng import derive_seed
from fedfr.federation.method import Method, MethodSettings, RoundContext
from fedfr.federation.private_state import PrivateState
from fedfr.methods.moon import ContrastiveSettings, contrasted_features
from fedfr.models import load_weights
from fedfr.models.heads import DFC
from fedfr.training.features import FrozenFeatures
from fedfr.training.hard_negatives import hard_negatives
from fedfr.training.objective import Contrastive, Objective, OneVsAll, Term
from fedfr.training.training_set import TrainingSet

__all__ = ["FedFR", "FedFRSettings"]


class HardNegativeSettings(Settings):
    """Settings of the search for public faces similar to private ones (paper, section 3.2)."""

    enabled: bool = True
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.4


class ContrastivePart(ContrastiveSettings):
    """Settings of the contrastive term."""

    enabled: bool = True


class DFCSettings(Settings):
    """Settings of L_dfc and its module; defaults are those of :class:`~fedfr.training.objective.OneVsAll`."""

    enabled: bool = True
    weight: Annotated[float, Field(ge=0)] = OneVsAll.weight
    transform: Literal["linear", "bottleneck"] = "linear"
    scale: Annotated[float, Field(gt=0)] = OneVsAll.scale
    margin: Annotated[float, Field(ge=0)] = OneVsAll.margin
    positive_weight: Annotated[float, Field(gt=0, lt=1)] = OneVsAll.positive_weight
    power: Annotated[int, Field(ge=1)] = OneVsAll.power
    detach: bool = OneVsAll.detach


class FedFRSettings(MethodSettings):
    """Settings of FedFR; each part can be disabled, as in the paper's ablation.

    ``reweight_negatives`` repeats the private negatives in L_cos (number of clients − 1) times.
    """

    reweight_negatives: bool = False
    hard_negatives: HardNegativeSettings = HardNegativeSettings()
    contrastive: ContrastivePart = ContrastivePart()
    dfc: DFCSettings = DFCSettings()


class FedFR(Method):
    """The complete method; with all three parts disabled it is bit-identical to FedAvg."""

    settings_type: ClassVar[type[MethodSettings]] = FedFRSettings
    settings: FedFRSettings

    def __init__(self, settings: Mapping[str, Any], where: str = "method") -> None:
        super().__init__(settings, where)
        # Public identities are classes whenever public faces can be in the training set.
        self.uses_public_prototypes = self.settings.hard_negatives.enabled
        self.uses_logits = self.settings.reweight_negatives

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return H_i: public faces more similar than τ_HN to any private face."""
        if not self.settings.hard_negatives.enabled:
            return super().public_faces(context)
        threshold = self.settings.hard_negatives.threshold
        device = context.settings.compute.device
        return hard_negatives(context.models.public_features, context.models.private_features, threshold, device=device)

    def dfc(self, context: RoundContext, prototypes: torch.Tensor) -> DFC | None:
        """Return the client's saved module; at first T_i = identity and branches w_i = Φ_i, b_i = 0."""
        if not self.settings.dfc.enabled:
            return None
        module = self._module(prototypes, derive_seed(context.settings.seed, "dfc", context.client))
        if context.state is not None and context.state.dfc:
            load_weights(module, context.state.dfc)
        else:
            module.initialize_branches(prototypes)
        return module

    def objective(self, context: RoundContext) -> Objective:
        """Return L = L_cos + 10 · L_dfc + μ · L_con."""
        repeats = self.other_clients(context) if self.settings.reweight_negatives else 0
        terms = [self.classification_term(context, negative_repeats=repeats)]
        dfc, contrastive = self.settings.dfc, self.settings.contrastive
        if dfc.enabled:
            terms.append(self.branch_term(context))
        if contrastive.enabled:
            terms.append(Contrastive(weight=contrastive.weight, temperature=contrastive.temperature))
        return Objective(terms)

    def other_clients(self, context: RoundContext) -> int:
        """Return the number of clients that train the same model beside this one."""
        return context.settings.num_clients - 1

    def branch_term(self, context: RoundContext) -> Term:
        """Return the loss of the DFC module, L_dfc."""
        own = self.settings.dfc
        return OneVsAll(
            weight=own.weight,
            scale=own.scale,
            margin=own.margin,
            positive_weight=own.positive_weight,
            power=own.power,
            detach=own.detach,
        )

    def frozen_features(
        self, context: RoundContext, training_set: TrainingSet, upright: Callable[[], torch.Tensor]
    ) -> tuple[FrozenFeatures | None, FrozenFeatures | None]:
        """Return u_g and u_p of the images and flips that the round trains on."""
        settings = self.settings.contrastive
        return (
            contrasted_features(context, training_set, upright, settings.first_previous)
            if settings.enabled
            else (None, None)
        )

    def personal_modules(self, state: PrivateState) -> DFC | None:
        """Return T_i, which follows the local backbone."""
        if not state.dfc:
            return None
        module = self._module(state.prototypes, 0)
        load_weights(module, state.dfc)
        return module

    def _module(self, prototypes: torch.Tensor, seed: int) -> DFC:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return DFC(prototypes.shape[0], prototypes.shape[1], transform=self.settings.dfc.transform)
