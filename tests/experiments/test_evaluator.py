"""Images used by each protocol: metrics equal those of protocols called with images listed by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.support.tiny_experiment import BACKBONE, tiny_config
from torch import nn

from fedfr.config.schema import EvaluationConfig
from fedfr.core.errors import FedfrError
from fedfr.evaluation import PROTOCOLS, Metric
from fedfr.experiments.components import RunComponents
from fedfr.experiments.evaluator import EvaluatedModel, Evaluator, evaluate_method_run
from fedfr.experiments.image_features import ImageFeatures
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import ClientFaces, FaceSet, Split
from fedfr.federation.method import GenericModel
from fedfr.federation.private_state import PrivateState
from fedfr.models import Personalized, build_backbone
from fedfr.models.heads import DFC
from fedfr.results.result_rows import Row

EACH = 12
SUBJECT = EvaluatedModel("fedfr", 0, 2, "generic")
RATES = EvaluationConfig(fars=(0.4, 0.2, 0.1), fpirs=(0.5, 0.3))


def images(first: int, start: int, stop: int, last: int | None = None) -> list[int]:
    """Images number ``start`` … ``stop`` - 1 of the identities ``first`` … ``last``."""
    people = range(first, (first if last is None else last) + 1)
    return [person * EACH + number for person in people for number in range(start, stop)]


# Parts of different sizes, so that none can stand in for another unseen.
PUBLIC = images(0, 0, EACH)
TRAIN = {"client-01": images(1, 0, 5, 3), "client-02": images(4, 0, 9, 5), "client-03": images(6, 0, EACH)}
TEST = {"client-01": images(1, 5, EACH, 3), "client-02": images(4, 9, EACH, 5), "client-03": []}
GENERIC = images(7, 0, EACH, 9) + images(10, 0, 4)
DISTRACTORS = images(10, 2, 9)
PAIRS = [(first, second) for first in GENERIC[:4] for second in GENERIC[4:30:2]]
PROBES = [*TEST["client-01"], *TEST["client-02"], *DISTRACTORS]


class Projection(nn.Module):
    """A fixed random linear map of every eighth pixel that counts the images it has seen."""

    def __init__(self) -> None:
        super().__init__()
        matrix = torch.randn(3 * 14 * 14, 24, generator=torch.Generator().manual_seed(4))
        self.register_buffer("matrix", matrix)
        self.seen = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features (n, 24)."""
        self.seen += len(inputs)
        features: torch.Tensor = inputs[:, :, ::8, ::8].flatten(1) @ self.get_buffer("matrix")
        return features


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> RunComponents:
    """Noise with a weak pattern per identity, so that no metric is 0 or 1 for every choice of images."""
    folder = tmp_path_factory.mktemp("assessment")
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(11), EACH)
    patterns = generator.integers(0, 70, (11, 112, 112, 3))
    pixels = (patterns[labels] + generator.integers(0, 180, (len(labels), 112, 112, 3))).astype(np.uint8)
    faces = FaceSet(pixels, labels, [f"person-{number:02d}" for number in range(11)])
    faces.save(folder / "faces")
    clients = {name: ClientFaces(tuple(TRAIN[name]), tuple(TEST[name])) for name in TRAIN}
    split = Split(
        "by hand",
        0,
        faces.fingerprint(),
        tuple(PUBLIC),
        clients,
        tuple(GENERIC),
        tuple(DISTRACTORS),
        tuple(PAIRS),
    )
    split.save(folder / "by-hand.json")
    config = tiny_config(
        folder,
        f"faces.path={folder / 'faces'}",
        f"split={{manifest: {folder / 'by-hand.json'}}}",
        f"evaluation={{fars: {list(RATES.fars)}, fpirs: {list(RATES.fpirs)}}}",
    )
    return RunComponents(config, folder / "run")


@pytest.fixture(scope="module")
def known(parts: RunComponents) -> NDArray[np.float32]:
    """Features of every image, in the order of the set."""
    pixels = torch.from_numpy(parts.faces.images(range(len(parts.faces))))
    features: NDArray[np.float32] = Projection()(parts.compute.preprocessing.apply(pixels)).numpy()
    return features


def figures_of(rows: list[Row], protocol: str, client: str = "") -> list[tuple[Any, ...]]:
    found = [row for row in rows if (row.protocol, row.client) == (protocol, client)]
    return [(row.metric, row.value, row.genuine, row.impostor, row.refused) for row in found]


def plain(figures: list[Metric]) -> list[tuple[Any, ...]]:
    return [(each.name, each.value, each.genuine, each.impostor, each.refused) for each in figures]


@pytest.mark.parametrize("client", ["client-01", "client-02"])
def test_personalized_protocols_use_the_clients_images(
    parts: RunComponents, known: NDArray[np.float32], client: str
) -> None:
    rows = Evaluator(parts).personalized(ImageFeatures(parts, Projection()), list(TRAIN), SUBJECT)
    labels = parts.faces.labels
    given = {
        "features": known[PROBES],
        "labels": labels[PROBES],
        "own": np.array([index in TEST[client] for index in PROBES]),
        "gallery_features": known[TRAIN[client]],
        "gallery_labels": labels[TRAIN[client]],
    }
    for protocol in ("personalized-1:1", "personalized-1:N"):
        found = figures_of(rows, protocol, client)
        assert found == plain(PROTOCOLS[protocol](**given, config=RATES)), protocol
        assert any(value is not None and 0 < value < 1 for _, value, *_ in found), "the figures could tell"


def test_counts_of_the_personalized_protocols(parts: RunComponents) -> None:
    """Counts by hand: 21 and 6 own test images, 7 distractors, no other image."""
    rows = Evaluator(parts).personalized(ImageFeatures(parts, Projection()), list(TRAIN), SUBJECT)
    counts = {
        (row.client, row.metric): (row.genuine, row.impostor)
        for row in rows
        if row.metric in ("TAR@FAR=2e-1", "TPIR@FPIR=3e-1", "rank-1")
    }
    assert counts == {
        ("client-01", "TAR@FAR=2e-1"): (3 * 21, 21 * 20 // 2 + 21 * 13 - 3 * 21),
        ("client-01", "TPIR@FPIR=3e-1"): (21, 13),
        ("client-01", "rank-1"): (21, 0),
        ("client-02", "TAR@FAR=2e-1"): (2 * 3, 6 * 5 // 2 + 6 * 28 - 2 * 3),
        ("client-02", "TPIR@FPIR=3e-1"): (6, 28),
        ("client-02", "rank-1"): (6, 0),
    }, "client-03 has no test images and no figures"
    assert {(row.method, row.seed, row.round, row.model) for row in rows} == {("fedfr", 0, 2, "generic")}


def test_generic_protocols_use_unseen_identities(parts: RunComponents, known: NDArray[np.float32]) -> None:
    rows = Evaluator(parts).generic(ImageFeatures(parts, Projection()), SUBJECT)
    labels = parts.faces.labels
    given = {"features": known[GENERIC], "labels": labels[GENERIC], "config": RATES}
    for protocol in ("generic-1:1", "generic-1:N"):
        assert figures_of(rows, protocol) == plain(PROTOCOLS[protocol](**given)), protocol
    assert figures_of(rows, "generic-1:1")[0][2:4] == (3 * 66 + 6, 780 - 3 * 66 - 6)
    first, second = np.array(PAIRS).T
    pairs = {
        "features_a": known[first],
        "features_b": known[second],
        "same": labels[first] == labels[second],
        "config": RATES,
    }
    assert figures_of(rows, "generic-pairs") == plain(PROTOCOLS["generic-pairs"](**pairs))
    assert {row.protocol for row in rows} == {"generic-1:1", "generic-1:N", "generic-pairs"}


def test_only_requested_protocols_are_run(parts: RunComponents) -> None:
    features = ImageFeatures(parts, Projection())
    one = Evaluator(parts, ["personalized-1:N"])
    assert one.generic(features, SUBJECT) == []
    assert {row.protocol for row in one.personalized(features, list(TRAIN), SUBJECT)} == {"personalized-1:N"}
    assert Evaluator(parts, ["generic-1:1"]).personalized(features, list(TRAIN), SUBJECT) == []
    with pytest.raises(FedfrError, match="unknown protocol 'generic-1:2'"):
        Evaluator(parts, ["generic-1:2"])


def test_every_image_is_computed_once(parts: RunComponents) -> None:
    module = Projection()
    features, evaluator = ImageFeatures(parts, module), Evaluator(parts)
    for _ in range(2):
        evaluator.generic(features, SUBJECT)
        evaluator.personalized(features, list(TRAIN), SUBJECT)
    needed = {*PROBES, *GENERIC, *TRAIN["client-01"], *TRAIN["client-02"]}
    assert module.seen == len(needed)


@pytest.fixture(scope="module")
def start() -> GenericModel:
    return GenericModel(build_backbone(BACKBONE, 0).state_dict(), torch.zeros(1, 512))


@pytest.fixture(scope="module")
def start_features(parts: RunComponents) -> ImageFeatures:
    return ImageFeatures(parts, build_backbone(BACKBONE, 0).eval())


@pytest.mark.parametrize(
    ("method", "server", "own", "lone"),
    [
        ("fedfr", "generic", "personalized", None),
        ("local", None, "local", "local"),
        ("local-fedfr", None, "personalized", "backbone"),
        ("centralized", "centralized", None, None),
        ("pretrained", "pretrained", None, None),
    ],
)
def test_protocols_of_each_model_of_a_run(
    parts: RunComponents,
    start: GenericModel,
    start_features: ImageFeatures,
    tmp_path: Path,
    method: str,
    server: str | None,
    own: str | None,
    lone: str | None,
) -> None:
    """The generic model runs all protocols, a personalized one its client's; missing models have refused rows.

    Where nothing is shared, each client's backbone, without a transform, runs the generic protocols.
    """
    method_run = MethodRun(parts, method, tmp_path)
    backbone, dfc = build_backbone(BACKBONE, 7), DFC(3, 512)
    torch.nn.init.normal_(dfc.transform.get_parameter("weight"), generator=torch.Generator().manual_seed(0))
    module = dfc.state_dict() if "fedfr" in method else {}
    method_run.store("client-01").save(PrivateState(5, backbone.state_dict(), torch.zeros(3, 512), module))
    evaluator = Evaluator(parts, ["personalized-1:N", "generic-1:1"])
    rows = evaluate_method_run(method_run, 6, start, evaluator)

    expected: list[Row] = []
    if server is not None:
        evaluated = EvaluatedModel(method, 0, 6, server)
        expected += evaluator.generic(start_features, evaluated)
        expected += evaluator.personalized(start_features, list(TRAIN), evaluated)
    if own is not None:
        personal = Personalized(backbone, dfc.transform if "fedfr" in method else None).eval()
        evaluated = EvaluatedModel(method, 0, 5, own)
        mine = evaluator.personalized(ImageFeatures(parts, personal), ["client-01"], evaluated)
        other = evaluator.personalized(start_features, ["client-02"], EvaluatedModel(method, 0, 6, own))
        found = {"client-01": mine, "client-02": other}
        if lone is not None:
            features = ImageFeatures(parts, backbone.eval())
            alone = evaluator.among_others(features, EvaluatedModel(method, 0, 5, lone), "client-01")
            assert {(row.protocol, row.refused) for row in alone} == {("generic-1:1", "")}
            found["client-01"] += alone
            for client in ("client-02", "client-03"):
                found.setdefault(client, []).extend(replace(row, client=client, round=6) for row in alone)
        why = "no model: the client delivered in no round"
        for client, given in found.items():
            lacks = client != "client-01"
            expected += [replace(row, value=None, refused=row.refused or why) if lacks else row for row in given]
    assert rows == expected
    assert {row.client for row in rows if row.model == own and row.value is not None} == (
        {"client-01"} if own else set()
    )
    assert method_run.model_count == (server is not None) + 3 * len({own, lone} - {None})
    assert {row.client for row in rows if row.model == server} == ({"", "client-01", "client-02"} if server else set())


def test_a_model_with_features_that_are_not_finite_is_refused(
    parts: RunComponents, start: GenericModel, tmp_path: Path
) -> None:
    """A model with overflowing features is refused; metrics and curves of the others are unaffected."""
    method_run = MethodRun(parts, "fedfr", tmp_path)
    sound = dict(build_backbone(BACKBONE, 7).state_dict())
    broken = sound | {"fc.weight": 1e25 * sound["fc.weight"], "features.weight": 1e25 * sound["features.weight"]}
    for client, weights in (("client-01", sound), ("client-02", broken)):
        method_run.store(client).save(PrivateState(1, weights, torch.zeros(3, 512)))
    evaluator = Evaluator(parts, ["personalized-1:1"], curves=True)
    rows = [row for row in evaluate_method_run(method_run, 1, start, evaluator) if row.model == "personalized"]
    assert {row.client for row in rows if row.value is not None} == {"client-01"}
    assert {row.refused for row in rows if row.client == "client-02"} == {"no model: its features are NaN or infinite"}
    assert [curve.clients for curve in evaluator.curves() if curve.model == "personalized"] == [1]
