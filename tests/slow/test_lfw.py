"""The LFW benchmark, shortened to minutes: real faces, command line, both starting points."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CUT = [
    "split.settings.clients=2",
    "split.settings.distractors=300",
    "split.settings.generic_identities=150",
    "federation.rounds=1",
    "local.epochs=2",
    "baselines=[local]",
    "evaluation.fars=[0.01, 0.001]",
    "evaluation.fpirs=[0.1]",
]


def fedfr(*arguments: str) -> str:
    """Run the command; its standard output."""
    command = [sys.executable, "-c", "from fedfr.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def faceset(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LFW, imported once."""
    folder = tmp_path_factory.mktemp("lfw") / "faces"
    facts = json.loads(fedfr("faces", "import", str(data_dir / "lfw112"), str(folder), "--json"))
    assert (facts["images"], facts["identities"]) == (13_233, 5_749)
    return folder


def train(faceset: Path, run: Path, *overrides: str) -> list[dict[str, Any]]:
    """The preset with overrides; the rows."""
    sets = [part for value in (*CUT, f"faces.path={faceset}", *overrides) for part in ("--set", value)]
    table = fedfr("train", "lfw-fed", "--out", str(run), *sets)
    assert "personalized-1:1" in table
    assert str(run) in table
    rows: list[dict[str, Any]] = json.loads(fedfr("report", str(run), "--json"))
    return rows


def value(rows: list[dict[str, Any]], model: str, protocol: str, metric: str) -> float:
    """Mean over the rows of a model."""
    values = [
        row["value"] for row in rows if (row["model"], row["protocol"], row["metric"]) == (model, protocol, metric)
    ]
    assert values
    return float(sum(values) / len(values))


@pytest.mark.slow
def test_from_scratch(faceset: Path, tmp_path: Path) -> None:
    rows = train(faceset, tmp_path / "scratch", "pretrain.epochs=1", "split.settings.public_identities=300")
    assert {row["model"] for row in rows} == {"pretrained", "generic", "personalized", "local"}
    personal = [row for row in rows if row["model"] == "personalized"]
    assert {row["client"] for row in personal} == {"client-01", "client-02"}
    assert all(row["genuine"] > 100 and row["impostor"] > 10_000 for row in personal if row["protocol"][-3:] == "1:1")


@pytest.mark.slow
def test_from_a_published_checkpoint(faceset: Path, data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    start = models_dir / "mobilefacenet_casia.ckpt"
    rows = train(
        faceset,
        tmp_path / "casia",
        f"model.start={start}",
        "model.backbone=mobilefacenet-112x96",
        "pretrain.epochs=0",
        "split.settings.public_identities=300",
        f"split.settings.pairs={data_dir / 'lfw_pairs.txt'}",
    )
    # A network that has seen half a million faces: anything near chance means a wrong crop, colour order or scale.
    assert value(rows, "pretrained", "generic-1:1", "TAR@FAR=1e-3") > 0.9
    assert value(rows, "generic", "generic-1:1", "TAR@FAR=1e-3") > 0.85
    assert value(rows, "personalized", "personalized-1:1", "TAR@FAR=1e-3") > 0.9
    assert value(rows, "pretrained", "generic-pairs", "accuracy") > 0.97


@pytest.mark.slow
def test_the_official_pairs_with_a_published_model(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    """98.72 ± 0.51 % with concatenated features of image and mirror image; the sum must be close."""
    packed = tmp_path / "lfw.bin"
    fedfr("faces", "pack-pairs", str(data_dir / "lfw112"), str(data_dir / "lfw_pairs.txt"), str(packed))
    model = models_dir / "mobilefacenet_casia.ckpt"
    rows = json.loads(fedfr("evaluate", str(model), "--faces", str(packed), "--json"))
    found = {row["metric"]: row["value"] for row in rows}
    assert {(row["protocol"], row["genuine"], row["impostor"]) for row in rows} == {
        ("verification-set lfw", 3000, 3000)
    }
    assert 0.981 <= found["accuracy"] <= 0.993
    assert found["accuracy(low95)"] < found["accuracy"] < found["accuracy(high95)"] < found["accuracy(low95)"] + 0.01
    assert 0 < found["EER"] < 0.02
    assert found["TAR@FAR=1e-2"] > 0.97
    assert found["TAR@FAR=1e-3"] is None
    assert 0.9 < found["VAL(insightface)@FAR=1e-3"] < found["TAR@FAR=1e-2"]
