"""``fedfr evaluate`` on IJB from images to metrics, compared with plain loops."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.cli.conftest import Answer, Fedfr
from tests.support import plain_ijb as plain
from tests.support.ijb_set import UPRIGHT, IjbSet, make_ijb

from fedfr.models import BACKBONES, build_backbone
from fedfr.models.checkpoint import Contract, embedding_space, save_model

SUBJECTS, PROBES = 4, 26

# A small set is never the whole, which the command says.
pytestmark = pytest.mark.filterwarnings("always::fedfr.faces.FacesWarning")

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> IjbSet:
    return make_ijb(tmp_path_factory.mktemp("ijb") / "IJB Ç", subjects=SUBJECTS, probes=PROBES)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, because the values of features do not matter."""
    state = build_backbone("slimface-small", 5).state_dict()
    spec = BACKBONES["slimface-small"]
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    save_model(path, state, Contract("slimface-small", spec.embedding_dim, spec.preprocessing, embedding_space(state)))
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the features of ``made`` with mirror images, computed once."""
    return tmp_path_factory.mktemp("features") / "kept"


@pytest.fixture(scope="module")
def features(made: IjbSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features of all images, upright and mirrored, computed without the package's extraction."""
    backbone = build_backbone("slimface-small", 5).eval()
    faces = []
    for (name, _, _), points in zip(made.images, made.points, strict=True):
        image = cv2.imread(str(made.folder / "loose_crop" / name))
        assert image is not None
        rows, targets = [], []
        for (x, y), (u, v) in zip(np.array(points).reshape(5, 2).tolist(), TEMPLATE.tolist(), strict=True):
            rows += [[x, -y, 1, 0], [y, x, 0, 1]]
            targets += [u, v]
        a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
        faces.append(cv2.warpAffine(image, np.array([[a, -b, tx], [b, a, ty]]), (112, 112))[:, :, ::-1].copy())
    inputs = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
    with torch.inference_mode():
        upright = torch.cat([backbone(part) for part in inputs.split(32)]).numpy()
        mirrored = torch.cat([backbone(part.flip(3)) for part in inputs.split(32)]).numpy()
    return upright, mirrored


def answered(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)
    assert isinstance(rows, list)
    return rows


def by_metric(rows: list[dict[str, Any]], protocol: str) -> dict[str, dict[str, Any]]:
    return {row["metric"]: row for row in rows if row["protocol"] == protocol}


def scores(made: IjbSet, templates: dict[int, NDArray[np.float64]]) -> tuple[list[float], list[int]]:
    return [float(templates[a] @ templates[b]) for a, b, _ in made.pairs], [mark for _, _, mark in made.pairs]


def test_every_metric_equals_plain_loops(
    fedfr: Fedfr, made: IjbSet, model: Path, kept: Path, features: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    answer = fedfr("evaluate", model, "--faces", made.folder, "--features", kept, "--json")
    rows = answered(answer)
    assert f"features: {len(made.images)}/{len(made.images)}" in answer.err
    assert "is not the whole IJB-C: " in answer.err
    assert "images (469,375 published)" in answer.err
    images = [(template, medium) for _, template, medium in made.images]
    templates = plain.templates(features[0] + features[1], images, made.scores)

    found = by_metric(rows, "ijb-1:1 IJB-C(part)")
    values, same = scores(made, templates)
    assert found["TAR@FAR=1e-1"]["value"] == plain.exact_tar(values, same, 0.1)
    assert found["TAR(insightface)@FAR=1e-1"]["value"] == plain.nearest_tar(values, same, 0.1)
    assert 0 < found["TAR@FAR=1e-1"]["value"] < 1
    counts = (SUBJECTS * PROBES, SUBJECTS * (SUBJECTS - 1) * PROBES)
    assert {(row["genuine"], row["impostor"]) for row in found.values()} == {counts}
    assert found["TAR@FAR=1e-2"]["refused"] == found["TAR(insightface)@FAR=1e-2"]["refused"]
    assert found["TAR@FAR=1e-2"]["refused"].startswith("rests on 3.12 impostors")

    found = by_metric(rows, "ijb-1:N IJB-C(part)")
    galleries, probes = [made.searches["G1"], made.searches["G2"]], made.searches["probe_mixed"]
    own = [plain.open_set(templates, gallery, probes, rank=1) for gallery in galleries]
    assert [found[f"rank-1{name}"]["value"] for name in ("(G1)", "(G2)", "")] == [*own, sum(own) / 2]
    assert 0 < found["rank-1"]["value"] < 1
    assert (found["rank-5"]["value"], found["rank-5"]["refused"]) == (
        None,
        "gallery G1: only 2 identities are enrolled; gallery G2: only 2 identities are enrolled",
    )
    mated = (SUBJECTS * PROBES // 2, SUBJECTS * PROBES // 2)
    assert (found["TPIR(G2)@FPIR=1e-1"]["genuine"], found["TPIR(G2)@FPIR=1e-1"]["impostor"]) == mated
    assert found["TPIR@FPIR=1e-1"]["refused"].startswith("gallery G1: rests on 5.2 impostors; at least 10 are needed;")

    found = by_metric(rows, "ijb-1:N-merged IJB-C(part)")
    both = galleries[0] | galleries[1]
    assert found["TPIR(merged)@FPIR=1e-1"]["value"] == plain.merged(templates, both, probes, 0.1)
    assert 0 < found["TPIR(merged)@FPIR=1e-1"]["value"] < 1
    assert found["rank-1(merged)"]["value"] == plain.open_set(templates, both, probes, rank=1)
    assert {(row["genuine"], row["impostor"]) for row in found.values()} == {(SUBJECTS * PROBES, 0)}
    assert {row["protocol"] for row in rows} == {f"ijb-{each} IJB-C(part)" for each in ("1:1", "1:N", "1:N-merged")}


@pytest.mark.parametrize(
    ("setting", "norm", "faceness", "mirror"),
    [("flip=false", True, True, 0), ("norm=false", False, True, 1), ("faceness=false", True, False, 1)],
)
def test_settings_of_templates(
    setting: str,
    norm: bool,
    faceness: bool,
    mirror: int,
    fedfr: Fedfr,
    made: IjbSet,
    model: Path,
    features: tuple[NDArray[np.float32], NDArray[np.float32]],
    kept: Path,
    tmp_path: Path,
) -> None:
    """Templates from stored features; features without mirror images are stored separately."""
    command = ["evaluate", model, "--faces", made.folder, "--protocol", "ijb-1:1", "--json"]
    place = kept if mirror else tmp_path / "upright"
    rows = answered(fedfr(*command, "--set", setting, "--features", place))
    images = [(template, medium) for _, template, medium in made.images]
    summed = features[0] + mirror * features[1]
    templates = plain.templates(summed, images, made.scores, norm=norm, faceness=faceness)
    found = by_metric(rows, "ijb-1:1 IJB-C(part)")
    assert found["TAR@FAR=1e-1"]["value"] == plain.exact_tar(*scores(made, templates), 0.1)
    assert {row["protocol"] for row in rows} == {"ijb-1:1 IJB-C(part)"}
    if not mirror:
        answer = fedfr(*command, "--features", place)
        assert answer.code == 2
        assert "with flip False, but this command computes features with flip True; give another folder" in answer.err


def test_stored_features_need_no_images(fedfr: Fedfr, made: IjbSet, model: Path, kept: Path, tmp_path: Path) -> None:
    """Stored features give equal metrics without images; other landmarks require new features."""
    folder = tmp_path / "IJBC"
    shutil.copytree(made.folder, folder)
    command = ["evaluate", model, "--faces", folder, "--features", kept, "--json"]
    first = answered(fedfr("evaluate", model, "--faces", made.folder, "--features", kept, "--json"))
    for path in (folder / "loose_crop").iterdir():
        path.write_bytes(b"")
    assert answered(fedfr(*command)) == first
    answer = fedfr(*command[:-3], "--json")
    assert answer.code == 2
    assert "1.jpg is not a readable image (it is empty); replace or remove it" in answer.err
    assert answer.err.count("\n") == 2  # the warning of the counts, and the error
    lists = replace(made, folder=folder).file("5pts")
    first_line, _, rest = lists.read_text().partition("\n")
    name, x, *more = first_line.split()
    lists.write_text(" ".join([name, f"{float(x) + 0.5:.3f}", *more]) + "\n" + rest)
    answer = fedfr(*command)
    assert answer.code == 2
    assert "contains features with images '" in answer.err


def test_a_wrong_list_is_reported_before_features_are_computed(
    fedfr: Fedfr, made: IjbSet, model: Path, kept: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "IJBC"
    shutil.copytree(made.folder, folder)
    copy = replace(made, folder=folder)
    path = copy.file("pair_label")
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    nothing = tmp_path / "nothing"
    answer = fedfr("evaluate", model, "--faces", folder, "--features", nothing)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fedfr: {path}, line {len(made.pairs)}: expected 3 whole numbers of up to 9 digits")
    assert answer.err.count("\n") == 1
    path.unlink()
    answer = fedfr("evaluate", model, "--faces", folder)
    assert "lacks meta/ijbc_template_pair_label.txt of IJB-C; add them, or choose a --protocol" in answer.err
    assert "NIST" in answer.err
    assert not nothing.exists()
    command = ["evaluate", model, "--faces", folder, "--protocol", "ijb-1:N-merged", "--features", kept, "--json"]
    rows = answered(fedfr(*command))
    assert {row["protocol"] for row in rows} == {"ijb-1:N-merged IJB-C(part)"}


def test_metrics_without_a_folder_of_features(fedfr: Fedfr, model: Path, tmp_path: Path) -> None:
    """Equal metrics without a folder, and from a state dict, whose features are stored separately."""
    few = make_ijb(tmp_path / "IJBC", subjects=2, probes=2)
    command = ["evaluate", model, "--faces", few.folder, "--json"]
    before = sorted(few.folder.rglob("*"))
    rows = answered(fedfr(*command))
    assert len(rows) > 30
    assert rows == answered(fedfr(*command, "--features", tmp_path / "kept"))
    assert sorted(few.folder.rglob("*")) == before
    foreign = tmp_path / "weights.pth"
    torch.save(build_backbone("slimface-small", 5).state_dict(), foreign)
    command[1] = foreign
    answer = fedfr(*command, "--features", tmp_path / "kept")
    assert answer.code == 2
    assert "kept contains features with model 'sha256:" in answer.err
    values = [row["value"] for row in answered(fedfr(*command, "--colour", "RGB", "--mean", "127.5", "--std", "127.5"))]
    assert values == [row["value"] for row in rows]


def test_the_plain_text_table(fedfr: Fedfr, made: IjbSet, model: Path, kept: Path) -> None:
    answer = fedfr("evaluate", model, "--faces", made.folder, "--protocol", "ijb-1:N-merged", "--features", kept)
    assert answer.code == 0
    assert "ijb-1:N-merged IJB-C(part)" in answer.out
    assert "TPIR(merged)" in answer.out
    assert "@FPIR=1e-1" in answer.out
    said = " ".join(answer.out.split())
    assert "not shown for ijb-1:N-merged IJB-C(part): TPIR(merged)@FPIR=1e-2, " in said
    assert "; rank-5(merged), rank-10(merged) – only 4 identities are enrolled" in said
    assert f"{SUBJECTS * PROBES}" in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "generic-1:1"], "generic-1:1 does not fit {folder}; allowed there: ijb-1:1, ijb-1:N, ijb-1:N-"),
        (["--protocol", "ijb-1:2"], "unknown protocol 'ijb-1:2'; did you mean 'ijb-1:N"),
        (["--set", "flop=true"], "--set: unknown setting 'flop'; known here: flip, norm, faceness, device"),
        (["--set", "norm=3"], "--set: norm = 3: give true or false"),
        (
            ["--set", "device=cuda:9"],
            "device = 'cuda:9', but this PyTorch is built without CUDA; install one",
        ),
    ],
)
def test_invalid_options_are_refused(
    arguments: list[str], message: str, fedfr: Fedfr, made: IjbSet, model: Path
) -> None:
    answer = fedfr("evaluate", model, "--faces", made.folder, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert f"fedfr: {message.format(folder=made.folder)}" in answer.err


def test_folders_without_ijb_files_are_refused(fedfr: Fedfr, faceset: Path, model: Path, tmp_path: Path) -> None:
    answer = fedfr("evaluate", model, "--faces", faceset, "--protocol", "ijb-1:1")
    assert answer.code == 2
    assert "ijb-1:1 does not fit" in answer.err
    assert "IJB-B and IJB-C were distributed by NIST until 14 March 2023" in answer.err
    for option in (["--set", "flip=false"], ["--features", str(tmp_path / "kept")]):
        answer = fedfr("evaluate", model, "--faces", faceset, *option)
        assert answer.code == 2
        assert "--features and --set are for IJB-B and IJB-C" in answer.err
    assert not (tmp_path / "kept").exists()


def test_landmarks_of_the_generated_set(made: IjbSet) -> None:
    """The listed landmarks of the generated set are where its images show them."""
    assert len({tuple(points) for points in made.points}) == len(made.images)
    assert np.abs(np.array(made.points[0]).reshape(5, 2) - UPRIGHT).max() > 1
