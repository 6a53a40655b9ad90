"""Features of public faces: equal bits from every cache, computed only where something changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import BACKBONE, bits, tiny_config, tiny_faces

from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet
from fedfr.federation.public_faces import BATCH, PublicFaces
from fedfr.models import build_backbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.training.features import Compute, extract_features
from fedfr.training.hard_negatives import hard_negatives
from fedfr.training.stored_features import StoredFeatures
from fedfr.training.training_set import TrainingSet

COMPUTE = Compute(Preprocessing(), torch.device("cpu"))
FACES = tiny_faces(30, 10)  # whole batches and 44 faces
ALL = torch.arange(len(FACES))


class Counting(PublicFaces):
    """Records which faces the network computed."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.runs: list[tuple[int, int]] = []

    def _extract(self, start: int, end: int, *how: Any) -> torch.Tensor:
        self.runs.append((start, min(end, len(self.faces))))
        return super()._extract(start, end, *how)


def small(seed: int) -> torch.nn.Module:
    """A small network with the interface of the configured one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = torch.nn.Conv2d(3, 4, 7, 7), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(1024, 512)
        return COMPUTE.place(torch.nn.Sequential(*layers)).eval()


@pytest.fixture(scope="module")
def backbone() -> torch.nn.Module:
    return small(0)


@pytest.fixture(scope="module")
def plain(backbone: torch.nn.Module) -> torch.Tensor:
    """Features computed in one pass."""
    return extract_features(backbone, TrainingSet([(FACES, None, 0)]), COMPUTE, batch_size=BATCH)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("chunk", [1, 128, 200, 4096])
@pytest.mark.parametrize("shared", [False, True])
def test_equal_bits_from_every_cache(
    tmp_path: Path, backbone: torch.nn.Module, plain: torch.Tensor, chunk: int, shared: bool, half: bool
) -> None:
    public = PublicFaces(FACES, tmp_path if shared else None, half=half, chunk=chunk)
    found = public.features(backbone, COMPUTE)
    assert len(found) == len(plain)
    assert torch.equal(found[ALL], plain)
    some = torch.tensor([3, 127, 128, 299])
    assert torch.equal(found[some], plain[some])
    assert found[ALL[:0]].numel() == 0
    assert all(part.dtype == (torch.float16 if half else torch.float32) for part in found.parts)


@pytest.mark.parametrize("faces", [1, 0])
@pytest.mark.parametrize("half", [False, True])
def test_very_few_faces(tmp_path: Path, backbone: torch.nn.Module, faces: int, half: bool) -> None:
    few = FACES.subset(list(range(faces)))
    found = PublicFaces(few, tmp_path, half=half).features(backbone, COMPUTE)
    assert len(found) == faces
    assert hard_negatives(found, torch.ones(2, 512), -1.0).tolist() == list(range(faces))


def test_half_precision_selects_the_same_images() -> None:
    """With a real backbone and thresholds at, just above and far from public images' own similarities."""
    backbone = COMPUTE.place(build_backbone(BACKBONE, 0)).eval()
    faces = FACES.subset(list(range(0, 300, 2)))
    plain = extract_features(backbone, TrainingSet([(faces, None, 0)]), COMPUTE)
    noise = torch.randn(22, 512, generator=torch.Generator().manual_seed(0))
    private = plain[::7] + 0.002 * plain.norm(dim=1).mean() * noise
    nearest = (torch.nn.functional.normalize(plain) @ torch.nn.functional.normalize(private).T).amax(dim=1)
    public = Counting(faces, half=True)
    found = public.features(backbone, COMPUTE)
    for threshold in [*nearest.sort().values[::60].tolist(), float(nearest.median()) + 1e-6, 0.5]:
        assert torch.equal(hard_negatives(found, private, threshold), hard_negatives(plain, private, threshold))
    assert len(public.runs) > 1, "some rows had to be computed again"


def test_an_unchanged_model_is_not_run_again(tmp_path: Path, backbone: torch.nn.Module) -> None:
    first, second = Counting(FACES, tmp_path), Counting(FACES, tmp_path)
    first.features(backbone, COMPUTE)
    first.features(small(0), COMPUTE)
    second.features(backbone, COMPUTE)
    assert (first.runs, second.runs) == ([(0, 300)], []), "another process, or the same after a restart"


def test_the_cost_of_features_does_not_depend_on_who_computed_them(tmp_path: Path, backbone: torch.nn.Module) -> None:
    first, second, alone = Counting(FACES, tmp_path), Counting(FACES, tmp_path), Counting(FACES)
    for public in (first, second, alone):
        public.features(backbone, COMPUTE)
    assert second.spent == 0 < first.spent
    assert first.seconds is not None
    assert second.seconds == first.seconds >= first.spent - 1e-5, "in microseconds, from the store"
    assert alone.seconds == alone.spent > 0
    before = alone.spent
    alone.features(small(1), COMPUTE)
    assert alone.seconds == pytest.approx(alone.spent - before), "of the newest model"


def test_a_model_has_one_folder_whatever_the_device(tmp_path: Path, backbone: torch.nn.Module) -> None:
    """The CPU under two names represents two devices."""
    first, second = Counting(FACES, tmp_path), Counting(FACES, tmp_path)
    first.features(backbone, COMPUTE)
    second.features(backbone, replace(COMPUTE, device=torch.device("cpu:0")))
    assert second.runs == []
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failed_computation_leaves_no_features(backbone: torch.nn.Module) -> None:
    """A client's own model fails in the middle; the next client has the shared one, and all of its features."""
    public = PublicFaces(FACES)
    public.features(backbone, COMPUTE)
    with pytest.raises(RuntimeError):
        public.features(torch.nn.Conv2d(1, 1, 1), COMPUTE, own=True)
    assert len(public.features(backbone, COMPUTE)) == len(FACES)


def test_a_changed_model_or_precision_is_run_again(tmp_path: Path, backbone: torch.nn.Module) -> None:
    public = Counting(FACES, tmp_path)
    other = small(1)
    bf16 = Compute(Preprocessing(), torch.device("cpu"), bf16=True)
    found = [public.features(backbone, COMPUTE), public.features(other, COMPUTE), public.features(backbone, bf16)]
    assert public.runs == [(0, 300)] * 3
    assert len(list(tmp_path.rglob("*.npy"))) == 1, "the newest only"
    values = [features[ALL] for features in found]
    assert not torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])


def test_only_new_images_of_a_larger_set_are_computed(
    tmp_path: Path, backbone: torch.nn.Module, plain: torch.Tensor
) -> None:
    def run(faces: FaceSet) -> tuple[Sequence[tuple[int, int]], StoredFeatures]:
        public = Counting(faces, tmp_path, chunk=128)
        return public.runs, public.features(backbone, COMPUTE)

    assert run(FACES.subset(list(range(200))))[0] == [(0, 128), (128, 200)]
    runs, found = run(FACES)
    assert runs == [(128, 256), (256, 300)]
    assert torch.equal(found[ALL], plain)


def test_features_of_a_clients_own_model_are_not_shared(tmp_path: Path, backbone: torch.nn.Module) -> None:
    public = Counting(FACES, tmp_path)
    public.features(backbone, COMPUTE)
    before = sorted(tmp_path.rglob("*"))
    public.features(small(1), COMPUTE, own=True)
    assert sorted(tmp_path.rglob("*")) == before
    public.features(backbone, COMPUTE)
    assert public.runs == [(0, 300)] * 2, "the shared ones were not driven out"


@pytest.mark.slow
def test_a_run_with_half_precision_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Under BatchNorm policy ``local``: shared in the first round, each client's own in the second."""
    settings = ["method.hard_negatives.threshold=0.5", "federation.batchnorm=local"]
    outcomes = []
    for storage, workers in (("float32", 1), ("half", 2)):
        extra = [*settings, f"runtime.public_features={storage}", f"runtime.workers={workers}"]
        folder = tmp_path / storage
        Experiment.create(tiny_config(tmp_path, *extra), folder).run()
        outcomes.append(bits(folder))
        assert len(list((folder / "public_features").iterdir())) == 1
    assert outcomes[0] == outcomes[1]


def test_the_key_of_a_backbone_is_computed_once_until_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key depends on every weight, so it is computed again only after a write or for another precision."""
    public, backbone, named = PublicFaces(FACES.subset([0, 1])), build_backbone(BACKBONE, 0), list[str]()
    key = PublicFaces._key

    def counting(*given: Any) -> str:
        named.append(key(*given))
        return named[-1]

    monkeypatch.setattr(PublicFaces, "_key", counting)
    for _ in range(3):
        first = public.features(backbone, COMPUTE)[torch.tensor([0])]
    assert len(named) == 1
    public.features(backbone, replace(COMPUTE, bf16=True))
    assert len(named) == 2
    with torch.no_grad():
        next(iter(backbone.parameters())).mul_(2.0)
    second = public.features(backbone, COMPUTE)[torch.tensor([0])]
    assert len(set(named)) == 3
    assert not torch.equal(first, second)
