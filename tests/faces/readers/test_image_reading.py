"""Decoding of images: colour order, bit depth, grey levels, truncated files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.image_reading import read_image, resize


def encode(path: Path, bgr: NDArray[Any]) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, bgr)[1].tobytes())
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_red_stays_red(tmp_path: Path, suffix: str) -> None:
    red = np.zeros((20, 20, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue, green, red
    image = read_image(encode(tmp_path / f"red{suffix}", red))
    np.testing.assert_allclose(image.reshape(-1, 3), np.tile([255, 0, 0], (400, 1)), atol=2)


def test_a_red_png_of_another_encoder_stays_red(tmp_path: Path) -> None:
    red = (
        "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
        "53de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
    )
    path = tmp_path / "red.png"
    path.write_bytes(bytes.fromhex(red))
    assert read_image(path).tolist() == [[[255, 0, 0]]]


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = (np.arange(16, dtype=np.uint16) * 4369).reshape(4, 4)
    for suffix in (".png", ".pgm"):
        image = read_image(encode(tmp_path / f"deep{suffix}", deep))
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image[..., 1], (np.arange(16) * 17).reshape(4, 4), atol=1)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    clear = np.full((3, 3, 4), (10, 20, 30, 0), np.uint8)
    assert read_image(encode(tmp_path / "clear.png", clear))[0, 0].tolist() == [30, 20, 10]


@pytest.mark.parametrize(("maximum", "top"), [(255, 255), (15, 15), (100, 100), (4095, 4095)])
def test_grey_levels_of_pgm_are_scaled_to_255(tmp_path: Path, maximum: int, top: int) -> None:
    values = np.array([0, top // 2, top])
    body = values.astype(">u2").tobytes() if maximum > 255 else values.astype(np.uint8).tobytes()
    path = tmp_path / "grey.PGM"
    path.write_bytes(b"P5\n# a comment\n3 1\n%d\n" % maximum + body)
    image = read_image(path)
    assert image.shape == (1, 3, 3)
    np.testing.assert_allclose(image[0], np.repeat([[0], [127], [255]], 3, axis=1), atol=9)
    assert image[0, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".pgm", ".bmp"])
@pytest.mark.parametrize("kept", [0.0, 0.001, 0.05, 0.5, 0.99])
def test_a_truncated_image_is_refused_by_name(
    tmp_path: Path, suffix: str, kept: float, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)
    path = encode(tmp_path / f"half{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(FedfrError, match=f"half{suffix} is not a readable image"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("not an image at all, though it says so\n" * 20)
    with pytest.raises(FedfrError, match=r"text\.jpg is not a readable image"):
        read_image(path)
    with pytest.raises(FedfrError, match=r"cannot read .*gone\.png: No such file"):
        read_image(tmp_path / "gone.png")


@pytest.mark.parametrize("shape", [(250, 250), (40, 40), (112, 92), (300, 50), (50, 300), (1, 1), (112, 112)])
def test_resizing_keeps_a_uniform_image(shape: tuple[int, int]) -> None:
    image = resize(np.full((*shape, 3), (9, 99, 199), np.uint8))
    assert image.shape == (112, 112, 3)
    assert (image == np.array([9, 99, 199], np.uint8)).all()


def test_resizing_averages_when_reducing() -> None:
    stripes = np.zeros((224, 224, 3), np.uint8)
    stripes[::2] = 200
    assert (resize(stripes) == 100).all()
