"""Photo to features: faces found, their features, the identifier of their space, the copy of the network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.support.photograph_files import YUNET, texture

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.detection import Face
from fedfr.faces.readers.image_reading import read_image
from fedfr.models import (
    DFC,
    Contract,
    ModelParts,
    OpenedModel,
    Preprocessing,
    UserPreprocessing,
    build_backbone,
    open_model,
    save_model,
)
from fedfr.recognition import Embedder, RejectedPhoto
from fedfr.recognition.photos.embedder import MOST_FACES

CROPS = np.stack([texture(112, 112, seed) for seed in range(3)])


def weights(path: Path, seed: int = 0) -> Path:
    torch.save(build_backbone("slimface-small", seed).state_dict(), path)
    return path


def personalized(path: Path, identities: int = 3, seed: int = 1) -> Path:
    """A client's model as an import makes it, with branches and private prototypes."""
    generator = torch.Generator().manual_seed(7)
    dfc = {
        name: torch.randn(value.shape, generator=generator) / 9 if name.startswith("transform") else value + 0.125
        for name, value in DFC(identities, 128).state_dict().items()
    }
    prototypes = torch.randn(identities, 128, generator=generator)
    parts = ModelParts(build_backbone("slimface-small", seed).state_dict(), prototypes, dfc)
    contract = Contract("slimface-small", 128, Preprocessing(), parts.space("personalized"), "personalized")
    save_model(path, parts.tensors("personalized"), contract)
    return path


class _Crowd:
    """Aligner that finds many faces, each larger than the one before."""

    no_face_reason, settings = "no-face", dict[str, str]()

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        corners = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        return tuple(
            Face(corners * size, score=0.95, box=(0.0, 0.0, float(size), float(size)))
            for size in range(100, 100 + 2 * MOST_FACES)
        )


def test_of_a_crowd_the_largest_faces_are_looked_at(tmp_path: Path) -> None:
    """Otherwise one photo of thousands of faces occupies the network of a service for minutes."""
    embedder = Embedder(open_model(weights(tmp_path / "w.pth")), _Crowd(), "off")
    found = embedder.look(texture(400, 400, 0))
    assert len(found) == MOST_FACES
    assert min(face.box[2] for face in found if face.box is not None) >= 100 + MOST_FACES


def test_a_feature_is_the_unit_mean_of_image_and_mirror_image(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.pth")
    model = open_model(path)
    with torch.no_grad():
        both = [
            model.network.eval()(model.preprocessing.apply(torch.from_numpy(np.ascontiguousarray(images))))
            for images in (CROPS, CROPS[:, :, ::-1])
        ]
    wanted = torch.nn.functional.normalize((both[0] + both[1]) / 2).numpy()
    embedder = Embedder.open(path)
    np.testing.assert_allclose(embedder.features(CROPS), wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedder.features(CROPS), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embedder.features(CROPS), embedder.features(CROPS[:, :, ::-1]), atol=1e-5)
    assert embedder.features(CROPS[:0]).shape == (0, embedder.dim) == (0, 128)


def test_more_crops_than_a_batch(tmp_path: Path) -> None:
    embedder = Embedder.open(weights(tmp_path / "w.pth"))
    many = np.stack([texture(112, 112, seed) for seed in range(19)])
    single = np.concatenate([embedder.features(many[row : row + 1]) for row in range(19)])
    np.testing.assert_allclose(embedder.features(many), single, atol=1e-5)


def test_the_space_is_that_of_what_inference_uses(tmp_path: Path) -> None:
    """Weights, preprocessing and transform count; branches, prototypes and counters of batches do not."""
    path = weights(tmp_path / "w.pth")
    space = Embedder.open(path).space
    state = build_backbone("slimface-small", 0).state_dict()
    counted = {name: value + 5 if name.endswith("num_batches_tracked") else value for name, value in state.items()}
    torch.save(counted, tmp_path / "counted.pth")
    assert Embedder.open(tmp_path / "counted.pth").space == space
    others = {
        Embedder.open(weights(tmp_path / "other.pth", seed=1)).space,
        Embedder.open(path, user_preprocessing=UserPreprocessing(std=128.0)).space,
        Embedder.open(personalized(tmp_path / "p.safetensors")).space,
    }
    assert len(others | {space}) == 4
    assert Embedder.open(personalized(tmp_path / "q.safetensors", identities=9)).space in others


@pytest.mark.parametrize("kind", ["foreign weights", "personalized"])
def test_the_copy_holds_the_network_alone_and_has_the_same_space(tmp_path: Path, kind: str) -> None:
    """No byte of a branch or prototype is in the copy."""
    if kind == "personalized":
        source, given = personalized(tmp_path / "p.safetensors"), UserPreprocessing()
    else:
        source, given = weights(tmp_path / "w.pth"), UserPreprocessing(colour="BGR", std=128.0)
    embedder = Embedder.open(source, user_preprocessing=given)
    copy = embedder.save_model(tmp_path / "models")
    assert copy.name == f"{embedder.space.removeprefix('sha256:')}.safetensors"
    again = Embedder.open(copy)
    assert (again.space, again.model_role, again.model_notice) == (embedder.space, embedder.model_role, "")
    np.testing.assert_array_equal(again.features(CROPS), embedder.features(CROPS))
    assert again.save_model(tmp_path / "models") == copy
    if kind == "personalized":
        from safetensors.torch import load_file

        content, tensors = copy.read_bytes(), load_file(source)
        private = {name: value for name, value in tensors.items() if "branches" in name or "prototypes" in name}
        assert len(private) >= 2
        assert [
            name for name, value in tensors.items() if name not in private and value.numpy().tobytes() not in content
        ] == []
        rows = {
            name: row.numpy().tobytes() for name, value in private.items() for row in value.reshape(-1, value.shape[-1])
        }
        assert [name for name, row in rows.items() if len(row) > 8 and row in content] == []
        assert b"branches" not in content
        assert b"prototypes" not in content


def test_without_a_detector_only_aligned_crops_are_accepted(tmp_path: Path) -> None:
    embedder = Embedder.open(weights(tmp_path / "w.pth"), quality="off")
    assert not embedder.detects
    (seen,) = embedder.look(CROPS[0], aligned=True)
    np.testing.assert_array_equal(seen.crop, CROPS[0])
    assert (seen.box, seen.points, seen.reasons, seen.quality.yaw) == (None, None, (), None)
    with pytest.raises(FedfrError, match="there is no detector, so only aligned 112x112 crops are accepted"):
        embedder.look(texture(300, 400))
    with pytest.raises(RejectedPhoto, match="an aligned face crop has 112x112"):
        embedder.look(texture(300, 400), aligned=True)


def test_mistakes_are_named(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.pth")
    embedder = Embedder.open(path)
    wrong: list[Any] = [CROPS[0], CROPS.astype(np.float32), CROPS[:, :100]]
    for crops in wrong:
        with pytest.raises(FedfrError, match="allowed are uint8"):
            embedder.features(crops)
    with pytest.raises(FedfrError, match=r"quality gate 'strikt'.*strict"):
        Embedder.open(path, quality="strikt")
    with pytest.raises(FedfrError, match="threads is 0; allowed is 1 or more"):
        Embedder.open(path, threads=0)
    network = build_backbone("slimface-small", 0).eval()
    torch.nn.init.zeros_(list(network.parameters())[-1])
    with torch.no_grad():
        for value in network.parameters():
            value.zero_()
    with pytest.raises(FedfrError, match="returns NaN, infinity or zero"):
        Embedder(OpenedModel(network, Preprocessing(), "generic"))


def test_photographs_end_to_end_and_in_threads(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    """The crops are those of the aligned set; threads get what one alone gets."""
    embedder = Embedder.open(weights(tmp_path / "w.pth"), models_dir / YUNET)
    names = sorted(
        path.relative_to(data_dir / "lfw250_sample") for path in (data_dir / "lfw250_sample").glob("*/*.jpg")
    )
    names = names[::7]
    alone = [embedder.look(data_dir / "lfw250_sample" / name, alone=False) for name in names]
    for name, seen in zip(names, alone, strict=True):
        assert seen[0].reasons in ((), ("pose",))
        known = read_image(data_dir / "lfw112" / name)
        assert np.abs(seen[0].crop.astype(int) - known).mean() < 6
    found: dict[int, list[bytes]] = {}

    def work(number: int) -> None:
        seen = [embedder.look(data_dir / "lfw250_sample" / name, alone=False)[0] for name in names]
        embedder.features(np.stack([face.crop for face in seen]))
        found[number] = [face.crop.tobytes() for face in seen]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [[seen[0].crop.tobytes() for seen in alone]] * 4
