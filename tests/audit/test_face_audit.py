"""Audit with a model on real faces: injected label errors among correctly labelled people."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.support.drawn_faces import draw_faces
from tests.support.tiny_experiment import tiny_faces

from fedfr.audit import Finding, audit_images
from fedfr.audit.face_audit import audit, features_of, load_generic
from fedfr.audit.label_checks import IdentityTemplates
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, make_split
from fedfr.faces.readers.image_reading import read_image
from fedfr.models import BACKBONES, Contract, build_backbone, embedding_space, save_model
from fedfr.reporting.progress import Silent

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def sample(data_dir: Path) -> FaceSet:
    """The first 30 identities of LFW with four images or more, four images each."""
    files: list[Path] = []
    for folder in sorted((data_dir / "lfw112").iterdir(), key=lambda path: path.name):
        images = sorted(folder.iterdir())
        files += images[:4] if len(images) >= 4 else []
        if len(files) == 120:
            break
    names = [f"{file.parent.name}/{file.name}" for file in files]
    people = [file.parent.name for file in files[::4]]
    return FaceSet(np.stack([read_image(file) for file in files]), np.arange(120) // 4, people, names)


@pytest.fixture(scope="module")
def model(models_dir: Path) -> Path:
    return models_dir / "mobilefacenet_casia.ckpt"


@pytest.fixture(scope="module")
def features(sample: FaceSet, model: Path) -> NDArray[np.float32]:
    return features_of(sample, *load_generic(model), Silent())


def pixels_of(faces: FaceSet) -> Image:
    return faces.images(range(len(faces)))


def relabelled(faces: FaceSet, changes: dict[int, int], more: int = 0) -> FaceSet:
    """Change the labels of some images; ``more`` is the number of additional identities."""
    labels = faces.labels.copy()
    for image, label in changes.items():
        labels[image] = label
    return FaceSet(pixels_of(faces), labels, [*faces.identities, *(f"new-{n}" for n in range(more))], faces.names)


def kinds(findings: tuple[Finding, ...]) -> dict[str, int]:
    return {each.kind: len(each.cases) for each in findings}


def test_real_people_with_right_labels_are_clean(sample: FaceSet, features: NDArray[np.float32]) -> None:
    people = IdentityTemplates(features, sample.labels)
    assert audit_images(sample) == ()
    assert list(people.similar_identities()) == []
    assert list(people.mislabelled_images()) == []


def test_real_people_are_found_under_a_second_name(sample: FaceSet, features: NDArray[np.float32]) -> None:
    """Almost all split identities with two images on either side are found, and no other pairs."""
    labels = sample.labels.copy()
    for person in range(20):
        labels[4 * person + 2 : 4 * person + 4] = 30 + person
    similar_identities = {
        (each.first, each.second) for each in IdentityTemplates(features, labels).similar_identities()
    }
    assert similar_identities <= {(person, 30 + person) for person in range(20)}
    assert len(similar_identities) >= 12


def test_real_images_are_found_under_another_name(sample: FaceSet, features: NDArray[np.float32]) -> None:
    labels = sample.labels.copy()
    moved = {4 * person: (person + 7) % 30 for person in range(0, 30, 2)}
    for image, label in moved.items():
        labels[image] = label
    mislabelled_images = {each.image: each.nearest for each in IdentityTemplates(features, labels).mislabelled_images()}
    assert set(mislabelled_images) <= set(moved)
    assert len(mislabelled_images) >= 13
    assert all(nearest == image // 4 for image, nearest in mislabelled_images.items())


def test_all_kinds_of_errors_together(sample: FaceSet, model: Path, tmp_path: Path) -> None:
    """One person in two parts and a mislabelled image are reported with identities, images, parts and scores."""
    chosen = sample.subset(range(80))
    faulty = relabelled(chosen, {2: 20, 3: 20, 41: 15}, more=1)
    faulty.save(tmp_path / "faces é")
    settings = {"public_identities": 6, "clients": 3, "identities_per_client": 4, "test_count": 1}
    split = make_split(faulty, "general", **settings)
    split.save(tmp_path / "split.json")
    found = audit(tmp_path / "faces é", split=tmp_path / "split.json", model=model)
    owners = {name: part for part, names in split.identities.items() for name in names}
    first, second = chosen.identities[0], "new-0"
    twin_kind = "same-person" if owners[first] == owners[second] else "same-person-in-two-parts"
    by_kind = {each.kind: each for each in found.findings}
    (twin,) = by_kind[twin_kind].cases
    assert twin.identities == tuple(sorted((first, second)))
    assert {name.split("/")[0] for name in twin.images} == {first}
    assert len(set(twin.images)) == 2
    (stray,) = by_kind["mislabelled"].cases
    assert (stray.images, stray.identities) == ((chosen.names[41],), (chosen.identities[15], chosen.identities[10]))
    assert stray.value is not None
    assert stray.value > 0.5
    assert found.comparison is not None
    assert 0.5 < found.comparison.threshold < 1
    assert found.comparison.people == 21
    assert not found.is_clean
    content = found.to_dict()
    assert (content["images"], content["identities"]) == (80, 21)
    assert {each["kind"] for each in content["findings"]} == set(by_kind)


def changed(faces: FaceSet, change: Callable[[Image], Image]) -> FaceSet:
    pixels = np.stack([change(image) for image in pixels_of(faces)])
    return FaceSet(pixels, faces.labels, faces.identities, faces.names)


def warped(image: Image, right: float, down: float, size: float) -> Image:
    matrix = np.asarray(cv2.getRotationMatrix2D((56, 72), 0, size), np.float64)
    matrix[:, 2] += (right, down)
    return np.asarray(cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE), np.uint8)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda image: image[:, :, ::-1].copy(), "colour-order"),
        (lambda image: warped(image, 0, 5, 1), "crop"),
        (lambda image: warped(image, -5, 0, 1), "crop"),
        (lambda image: warped(image, 0, 0, 0.8), "crop"),
        (lambda image: warped(image, 0, 0, 1.25), "crop"),
    ],
)
def test_real_faces_prepared_in_another_way(sample: FaceSet, change: Callable[[Image], Image], kind: str) -> None:
    assert kinds(audit_images(changed(sample, change))) == {kind: 1}


def test_originals_that_were_only_resized(data_dir: Path) -> None:
    """LFW's 250x250 images resized as a whole, without alignment."""
    files = sorted((data_dir / "lfw250_sample").rglob("*.jpg"))
    pixels = [np.asarray(cv2.resize(read_image(file), (112, 112), interpolation=cv2.INTER_AREA)) for file in files]
    found = audit_images(FaceSet(np.stack(pixels), np.arange(len(files)) % 9, [str(n) for n in range(9)]))
    crop = next(each for each in found if each.kind == "crop")
    assert crop.cases[0].detail.startswith("0.5")
    assert crop.cases[0].value is not None
    assert crop.cases[0].value > 10


def untrained(folder: Path, role: str = "generic") -> Path:
    """A model with random weights."""
    spec = BACKBONES["slimface"]
    weights = build_backbone("slimface", 0).state_dict()
    contract = Contract("slimface", spec.embedding_dim, spec.preprocessing, embedding_space(weights), role)
    save_model(folder / "m.safetensors", {**weights, "public_prototypes": torch.zeros(3, 4)}, contract)
    return folder / "m.safetensors"


def test_an_untrained_model_is_reported(tmp_path: Path) -> None:
    found = audit(draw_faces(12, 2), model=untrained(tmp_path))
    assert kinds(found.findings) == {"model-too-weak": 1}
    assert found.is_clean, "a note is no fault of the faces"
    assert found.comparison is None
    assert found.findings[0].cases[0].detail.startswith("the threshold would be a cosine of ")


def test_invalid_arguments_are_refused(tmp_path: Path) -> None:
    faces = tiny_faces(4, 2)
    with pytest.raises(FedfrError, match="a personalized model has no entry"):
        audit(faces, model=untrained(tmp_path, "personalized"))
    with pytest.raises(FedfrError, match="do not exist"):
        audit(faces, model=tmp_path / "none.pth")
    with pytest.raises(FedfrError, match="does not exist"):
        audit(faces, split=tmp_path / "none.json")
    with pytest.raises(FedfrError, match="is not a folder"):
        audit(tmp_path / "nowhere")
    settings = {"public_identities": 1, "clients": 1, "identities_per_client": 1}
    with pytest.raises(FedfrError, match="was made for faces"):
        audit(faces, split=make_split(tiny_faces(5, 2), "general", **settings))


def test_an_empty_set_is_clean(tmp_path: Path) -> None:
    found = audit(tiny_faces(2, 2).subset([]), model=untrained(tmp_path))
    assert (found.images, found.findings, found.comparison) == (0, (), None)
