"""Output of the commands: JSON alone on standard output, progress and warnings on standard error."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.cli.conftest import Fedfr, answered
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.evaluation.verification import equal_error_rate
from fedfr.faces import FaceSet
from fedfr.models import build_backbone, load_model

COLUMNS = [
    "method",
    "seed",
    "round",
    "client",
    "model",
    "protocol",
    "metric",
    "value",
    "genuine",
    "impostor",
    "refused",
]


def content(folder: Path) -> dict[str, str]:
    """Digest of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a separate process."""
    command = [sys.executable, "-c", "from fedfr.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, **environment})


REPORTS = """
import sys
from fedfr.cli import main
run = sys.argv[1]
for more in ([], ["--json"]):
    sys.argv = ["fedfr", "report", run, *more]
    try:
        main()
    except SystemExit as ended:
        print("code", ended.code or 0)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, config_file: Path, settings: list[str]) -> tuple[Path, str]:
    """A finished run of a real process, and its output."""
    folder = tmp_path_factory.mktemp("runs") / "a run"
    command = ["train", str(config_file), "--out", str(folder), *settings, "--set", "baselines=[local]"]
    done = process(*command)
    assert done.returncode == 0, done.stderr
    assert "pre-training" in done.stderr
    return folder, done.stdout


def test_import_and_split_of_faces(fedfr: Fedfr, samples: Path, tmp_path: Path) -> None:
    facts = answered(fedfr("faces", "import", samples, tmp_path / "set", "--json"))
    assert (facts["images"], facts["identities"]) == (70, 14)
    assert facts["images_per_identity"] == {"least": 5, "median": 5.0, "most": 5}
    assert answered(fedfr("faces", "info", tmp_path / "set", "--json")) == facts
    assert "70 images of 14 identities, 5 to 5 images each" in fedfr("faces", "info", tmp_path / "set").out

    options = ["public_identities=4", "clients=2", "identities_per_client=3", "test_count=2", "min_images=4"]
    sets = [part for option in options for part in ("--set", option)]
    split = answered(fedfr("faces", "split", tmp_path / "set", tmp_path / "split.json", *sets, "--json"))
    assert split["public_images"] == 20
    assert split["clients"] == {"client-01": {"train": 9, "test": 6}, "client-02": {"train": 9, "test": 6}}
    assert split["generic_images"] == 20
    assert (
        json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))["clients"].keys() == split["clients"].keys()
    )

    sheet = tmp_path / "sheet.png"
    answer = fedfr("faces", "show", tmp_path / "set", "--out", sheet, "--identities", "3", "--images", "4")
    assert answer.code == 0
    assert "real people" in answer.out
    image = cv2.imread(str(sheet))
    assert image is not None
    assert image.shape[0] >= 3 * 112
    assert image.shape[1] >= 4 * 112


def test_import_of_recordio(fedfr: Fedfr, data_dir: Path, tmp_path: Path) -> None:
    source = data_dir / "recordio" / "insightface"
    imported = [
        answered(fedfr("faces", "import", source, tmp_path / name, "--json", *more))
        for name, more in (("made", []), ("linked", ["--link"]))
    ]
    facts = answered(fedfr("faces", "info", source / "train.rec", "--json"))
    assert (facts["images"], facts["identities"]) == (82, 6)
    folders = [given.pop("folder") for given in (*imported, facts)]
    assert folders == [str(tmp_path / "made"), str(tmp_path / "linked"), str(source / "train.rec")]
    assert imported == [facts, facts]
    wide = ["public_min_images=12", "public_max_images=20", "private_min_images=10", "private_max_images=20"]
    few = ["public_identities=2", "clients=2", "identities_per_client=1", "test_count=4"]
    sets = [part for option in (*wide, *few) for part in ("--set", option)]
    manifest = tmp_path / "split.json"
    split = answered(fedfr("faces", "split", source, manifest, "--recipe", "ms1m-fedfr", *sets, "--json"))
    assert len(split["clients"]) == 2
    out = answered(
        fedfr("faces", "export-recordio", source, manifest, tmp_path / "out", "--encoding", "kept", "--json")
    )
    public = "split_pretrain_2/client_0000"
    assert out["images"][f"{public}/train.rec"] == split["public_images"]
    again = answered(fedfr("faces", "info", tmp_path / "out" / public, "--json"))
    assert (again["images"], again["identities"]) == (split["public_images"], 2)


def test_a_run_prints_its_table_and_folder(run: tuple[Path, str]) -> None:
    folder, out = run
    for expected in ("pretrained", "local", "fedfr", "personalized-1:1", "genuine", "impostor", str(folder)):
        assert expected in out
    assert (folder / "generic.safetensors").is_file()
    assert len(list(folder.glob("clients/*/personal.safetensors"))) == 2


def test_resuming_a_finished_run_prints_the_same_table(fedfr: Fedfr, run: tuple[Path, str]) -> None:
    folder, out = run
    before = content(folder)
    answer = fedfr("resume", folder)
    assert answer.code == 0
    assert answer.out.split("run folder:")[0] == out.split("run folder:")[0]
    assert content(folder) == before


def test_an_ascii_locale(run: tuple[Path, str]) -> None:
    """With an ASCII locale the output has escapes, and there is no traceback."""
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", REPORTS, str(run[0])]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, **environment})
    assert (done.returncode, done.stderr) == (0, "")
    text, rows, rest = done.stdout.split("code 0\n")
    assert "personalized-1:1" in text
    assert json.loads(rows)
    assert rest == ""


def test_evaluate_again_gives_the_same_rows(fedfr: Fedfr, run: tuple[Path, str]) -> None:
    folder, _ = run
    before = content(folder)
    rows = answered(fedfr("evaluate", folder, "--json"))
    assert rows == answered(fedfr("report", folder, "--json"))
    assert content(folder) == before
    assert [list(row) for row in rows] == [COLUMNS] * len(rows)
    models = {(row["method"], row["model"]) for row in rows}
    assert models == {
        ("pretrained", "pretrained"),
        ("fedfr", "generic"),
        ("fedfr", "personalized"),
        ("local", "local"),
    }
    personal = [row for row in rows if row["model"] == "personalized" and row["protocol"] == "personalized-1:1"]
    assert [row["client"] for row in personal] == ["client-01", "client-02"], "every client's value is kept"
    # 3 own identities x 2 test images: 3 genuine pairs; 15 own pairs and 6 x 26 with the others' and the unseen.
    assert all(row["genuine"] == 3 and row["impostor"] == 15 - 3 + 6 * 26 for row in personal)


def test_one_protocol(fedfr: Fedfr, run: tuple[Path, str]) -> None:
    answer = fedfr("evaluate", run[0], "--protocol", "generic-1:1", "--json")
    assert re.search(r"^evaluation: 0/\d+ models \(pretrained pretrained: \d+/\d+ images\)$", answer.err, re.MULTILINE)
    rows = answered(answer)
    assert {row["protocol"] for row in rows} == {"generic-1:1"}
    # Clients alone have no generic model: each one's own backbone.
    assert {(row["client"], row["model"]) for row in rows if row["client"]} == {
        ("client-01", "local"),
        ("client-02", "local"),
    }
    assert "generic-1:1" in fedfr("evaluate", run[0], "--protocol", "generic-1:1").out


def test_one_model_on_a_folder_of_images(fedfr: Fedfr, run: tuple[Path, str], samples: Path, faceset: Path) -> None:
    model = run[0] / "generic.safetensors"
    for faces in (samples, faceset):
        answer = fedfr("evaluate", model, "--faces", faces, "--json")
        assert "features: 70/70" in answer.err
        assert ("reading faces: 70/70" in answer.err) == (faces == samples)
        rows = answered(answer)
        verification = [row for row in rows if row["protocol"] == "generic-1:1"]
        assert verification[0]["genuine"] == 14 * 10
        assert verification[0]["impostor"] == 70 * 69 // 2 - 14 * 10


def test_one_model_on_verification_sets(fedfr: Fedfr, run: tuple[Path, str], faceset: Path, tmp_path: Path) -> None:
    """A model and its state dict give the same metrics, on one file and on a folder of files."""
    faces = FaceSet.load(faceset)
    lines = [f"{faces.names[a]},{faces.names[a + 1 + 5 * (a % 2)]}" for a in range(0, 60, 3)]
    (tmp_path / "list.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    answer = fedfr("faces", "pack-pairs", faceset, tmp_path / "list.csv", tmp_path / "some.bin", "--json")
    assert answered(answer)["pairs"] == 20
    model, state = run[0] / "generic.safetensors", tmp_path / "their.pth"
    weights = load_model(model)[0]
    torch.save({"state_dict": {name: value for name, value in weights.items() if name != "public_prototypes"}}, state)
    answer = fedfr("evaluate", model, "--faces", tmp_path / "some.bin", "--json")
    assert "features, some.bin: " in answer.err, "how far it is"
    ours = answered(answer)
    assert {row["protocol"] for row in ours} == {"verification-set some"}
    assert {row["metric"] for row in ours} >= {"accuracy", "accuracy(low95)", "EER", "TAR@FAR=1e-1"}
    theirs = answered(fedfr("evaluate", state, "--faces", tmp_path, "--json"))
    assert [row["value"] for row in theirs] == [row["value"] for row in ours]
    features = _features_with_mirror(model, faces)
    same = np.array([faces.labels[a] == faces.labels[a + 1 + 5 * (a % 2)] for a in range(0, 60, 3)])
    scores = np.array([features[a] @ features[a + 1 + 5 * (a % 2)] for a in range(0, 60, 3)])
    rate = equal_error_rate(scores[same], scores[~same])
    assert next(row["value"] for row in ours if row["metric"] == "EER") == pytest.approx(rate)
    assert fedfr("evaluate", run[0], "--protocol", "verification-set").code == 2
    assert "does not fit" in fedfr("evaluate", model, "--faces", faceset, "--protocol", "verification-set").err


def _features_with_mirror(model: Path, faces: FaceSet) -> NDArray[np.float32]:
    """Return unit-length sums of the features of each image and its mirror image, without the package's extraction."""
    weights, contract = load_model(model)
    backbone = build_backbone(contract.backbone, 0).eval()
    backbone.load_state_dict({name: value for name, value in weights.items() if name != "public_prototypes"})
    images = torch.from_numpy(faces.images(range(len(faces)))).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
    with torch.inference_mode():
        features = (backbone(images) + backbone(images.flip(3))).numpy()
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True), np.float32)


def test_pretrain_then_resume(fedfr: Fedfr, config_file: Path, settings: list[str], tmp_path: Path) -> None:
    facts = answered(fedfr("pretrain", config_file, "--out", tmp_path / "run", *settings, "--json"))
    model = Path(facts["model"])
    assert model.is_file()
    before = model.read_bytes()
    assert fedfr("pretrain", config_file, "--out", tmp_path / "run", *settings).code == 0
    assert fedfr("resume", tmp_path / "run").code == 0
    assert model.read_bytes() == before
    assert (tmp_path / "run" / "rounds" / "0001").is_dir()


@pytest.mark.slow
def test_relative_paths_and_resume_from_another_folder(
    fedfr: Fedfr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths of --set are relative to the working directory of the command."""
    here, elsewhere = tmp_path / "here and now", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    tiny_faces().save(here / "face set")
    (elsewhere / "run.yaml").write_text("{}\n", encoding="utf-8")
    monkeypatch.chdir(here)
    sets = [part for value in (*SETTINGS, "federation.rounds=1") for part in ("--set", value)]
    begun = ["pretrain", "../elsewhere/run.yaml", "--out", "my run", *sets, "--set", "faces.path=face set"]
    assert fedfr(*begun).code == 0
    monkeypatch.chdir(elsewhere)
    answer = fedfr("resume", "../here and now/my run", "--json")
    assert answer.code == 0, answer.err
    monkeypatch.setenv("HOME", str(here))
    again = ["train", "run.yaml", "--out", "run", *sets, "--set", "faces.path=~/face set", "--json"]
    assert answered(fedfr(*again)) == json.loads(answer.out)


@pytest.mark.slow
def test_history(fedfr: Fedfr, config_file: Path, settings: list[str], tmp_path: Path) -> None:
    more = ["--set", "federation.rounds=3", "--set", "evaluation.every=2", "--json"]
    rows = answered(fedfr("train", config_file, "--out", tmp_path / "run", *settings, *more))
    history = answered(fedfr("report", tmp_path / "run", "--history"))
    assert {row["round"] for row in history} == {2}
    assert {row["round"] for row in rows if row["method"] == "fedfr"} == {3}
