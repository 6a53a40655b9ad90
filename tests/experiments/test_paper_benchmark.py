"""The paper's benchmark on a small set in MS1M's layout: checks of files and sizes, and a complete run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet

# The paper's numbers, scaled down: private people have 7 to 9 images, public ones 4 to 6, two of each are the test.
SMALL: dict[str, Any] = {
    "split": {
        "settings": {
            "private_min_images": 7,
            "private_max_images": 9,
            "public_min_images": 4,
            "public_max_images": 6,
            "public_identities": 5,
            "clients": 2,
            "identities_per_client": 3,
            "test_count": 2,
        }
    },
    "model": {"backbone": "slimface"},
    "pretrain": {"epochs": 1, "batch_size": 8, "learning_rate": 0.05, "decay_epochs": [], "schedule": "constant"},
    "local": {"batch_size": 8},
    "evaluation": {"fars": [0.1]},
}


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty people in the order of their labels, every other one with 8 images, the rest with 5."""
    folder = tmp_path_factory.mktemp("stand-in") / "faces"
    many = tiny_faces(identities=40, images=8)
    kept = [index for index, label in enumerate(many.labels) if label % 2 == 0 or index % 8 < 5]
    FaceSet(many.images(kept), many.labels[kept], many.identities).save(folder)
    return folder


@pytest.mark.slow
def test_the_benchmark_runs_on_data_in_the_papers_layout(stand_in: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "faces": {"path": str(stand_in)}}
    plan = plan_benchmark("paper", methods=["fedavg", "fedfr"], settings=settings)
    benchmark = Benchmark.begin(plan, tmp_path / "out")
    results = benchmark.run()
    assert {result.row.method for result in results} == {"pretrained", "fedavg", "fedfr"}
    run = Experiment.open(tmp_path / "out" / "scratch" / "seed-0")
    split, labels = run.components.split, run.components.faces.labels
    assert (split.name, len(split.clients), len(split.identities["public"])) == ("ms1m-fedfr", 2, 5)
    assert set(Counter(labels[list(split.public)].tolist()).values()) == {5}
    for faces in split.clients.values():
        assert set(Counter(labels[list(faces.train)].tolist()).values()) == {6}
        assert set(Counter(labels[list(faces.test)].tolist()).values()) == {2}
    # Of 12 test images a client's own 6 meet all: 15 + 36 pairs, 3 of them of one person.
    (row,) = (
        result.row
        for result in results
        if (result.row.method, result.row.protocol, result.row.client, result.row.metric)
        == ("pretrained", "personalized-1:1", "client-01", "TAR@FAR=1e-1")
    )
    assert (row.genuine, row.impostor) == (3, 48)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "faces.path is missing; the folder source needs the folder with the faces"),
        ({"faces": {"path": "{stand_in}"}}, "needs 4000 identities with 101 to 109 images in the first half"),
        ({"faces": {"path": "{stand_in}/nothing"}}, "nothing"),
        (
            {"faces": {"path": "{stand_in}"}, "split": {"settings": {**SMALL["split"]["settings"], "clients": 9}}},
            "needs 27 identities with 7 to 9 images in the first half",
        ),
    ],
)
def test_files_and_sizes_are_checked_before_training(
    settings: dict[str, dict[str, object]], message: str, stand_in: Path, tmp_path: Path
) -> None:
    faces = {name: str(value).replace("{stand_in}", str(stand_in)) for name, value in settings.get("faces", {}).items()}
    plan = plan_benchmark("paper", settings={**settings, "faces": faces})
    with pytest.raises(FedfrError) as caught:
        Benchmark.begin(plan, tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_sizes_equal_those_of_the_paper() -> None:
    config = plan_benchmark("paper", budget="full").experiment(0)
    settings = config.split.settings
    assert (settings["clients"], settings["identities_per_client"], settings["public_identities"]) == (40, 100, 6000)
    assert (settings["seed"], config.seed) == (100, 0)
    assert (config.model.backbone, config.federation.rounds, config.local.batch_size) == ("sphereface64", 20, 256)
    figure = plan_benchmark("paper", budget="full", scenario="identities")
    assert figure.methods == ("fedface", "fedfr", "centralized")
    assert [cell.at for cell in figure.cells.values()] == [1, 5, 10, 50, 100]
