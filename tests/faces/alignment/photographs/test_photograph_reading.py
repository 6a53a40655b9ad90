"""Reading of photographs: EXIF orientation, size limits, and files that are not images."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.photograph_files import png_header, save, texture, with_orientation

from fedfr.faces.alignment.photographs.photograph_reading import MAX_BYTES, MAX_PHOTOGRAPH_PIXELS, read_photograph
from fedfr.faces.alignment.photographs.reasons import RejectedPhotograph
from fedfr.faces.image_headers import any_image_size


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # TIFF 6.0, tag 274: where row 0 and column 0 of what is stored lie in what is shown.
    [(1, (0, 0)), (2, (0, 1)), (3, (1, 1)), (4, (1, 0)), (5, (0, 0)), (6, (0, 1)), (7, (1, 1)), (8, (1, 0))],
)
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[:16, :16] = (255, 0, 0)
    stored[-16:, :16] = (0, 0, 255)  # below the first corner in what is stored
    jpeg = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    path = tmp_path / "turned.jpg"
    path.write_bytes(with_orientation(jpeg, orientation))
    shown = read_photograph(path)
    assert shown.shape == ((40, 64, 3) if orientation < 5 else (64, 40, 3))
    corners = shown[[[4, 4], [-5, -5]], [[4, -5], [4, -5]]].astype(int)
    red = corners[..., 0] - corners[..., 2]
    assert np.unravel_index(red.argmax(), (2, 2)) == corner
    # The other colour lies beside it, up and down as stored or turned to left and right.
    along = 0 if orientation < 5 else 1
    beside = [*corner]
    beside[along] = 1 - beside[along]
    assert np.unravel_index(red.argmin(), (2, 2)) == tuple(beside)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_colours_and_grey(tmp_path: Path, suffix: str) -> None:
    image = texture(30, 50)
    found = read_photograph(save(tmp_path / f"a{suffix}", image))
    assert np.abs(found.astype(int) - image).mean() < 12
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    path = tmp_path / f"grey{suffix}"
    path.write_bytes(cv2.imencode(suffix, grey)[1].tobytes())
    found = read_photograph(path)
    assert found.shape == (30, 50, 3)
    assert (found == found[..., :1]).all()
    np.testing.assert_allclose(found[..., 0], grey, atol=30)


def jpeg_header(width: int, height: int) -> bytes:
    """A JPEG whose frame header is changed to another size."""
    content = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


def bmp_header(width: int, height: int) -> bytes:
    content = bytearray(cv2.imencode(".bmp", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    struct.pack_into("<ii", content, 18, width, height)
    return bytes(content)


def pgm_header(width: int, height: int) -> bytes:
    return b"P5\n# no\n%d %d\n255\n" % (width, height)


HEADERS = {
    "jpg": jpeg_header,
    "png": png_header,
    "bmp": bmp_header,
    "pgm": pgm_header,
}


@pytest.mark.parametrize("kind", HEADERS)
def test_an_image_with_too_large_a_header_is_not_decoded(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"bomb.{kind}"
    content = HEADERS[kind](20_000, 20_001)
    assert any_image_size(content) == (20_001, 20_000)
    path.write_bytes(content)
    with pytest.raises(RejectedPhotograph) as unfit:
        read_photograph(path)
    assert unfit.value.reason == "too-large"
    assert unfit.value.detail == f"20000x20001 pixels; at most {MAX_PHOTOGRAPH_PIXELS} are decoded"


def test_the_other_headers_of_bmp() -> None:
    top_down = bmp_header(7, -9)
    assert any_image_size(top_down) == (9, 7)
    old = top_down[:14] + struct.pack("<IHHHH", 12, 300, 200, 1, 24)
    assert any_image_size(old) == (200, 300)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "long.jpg"
    with path.open("wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(MAX_BYTES + 1)  # a hole: no disk is taken
    with pytest.raises(RejectedPhotograph) as unfit:
        read_photograph(path)
    assert unfit.value.reason == "too-large"


JPEG = cv2.imencode(".jpg", texture(60, 50))[1].tobytes()
PNG = cv2.imencode(".png", texture(60, 50))[1].tobytes()


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b"", "empty"),
        (b"not an image, though it says so\n" * 20, "not an image of a known format"),
        (b"GIF89a" + bytes(100), "damaged or truncated"),
        (JPEG[: len(JPEG) // 2], "damaged or truncated"),
        (PNG[: len(PNG) // 2], "damaged or truncated"),
        (JPEG[:11], "not an image of a known format"),
    ],
)
def test_undecodable_files(tmp_path: Path, content: bytes, detail: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "an image.jpg"
    path.write_bytes(content)
    with pytest.raises(RejectedPhotograph) as unfit:
        read_photograph(path)
    assert (unfit.value.reason, unfit.value.detail) == ("unreadable", detail)
    assert capfd.readouterr().err == ""


def test_paths_that_are_not_files(tmp_path: Path) -> None:
    """A pipe without a writer must not block."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere")
    for name, detail in (("pipe.jpg", "not a regular file"), ("lost.jpg", "No such file or directory")):
        with pytest.raises(RejectedPhotograph) as unfit:
            read_photograph(tmp_path / name)
        assert (unfit.value.reason, unfit.value.detail) == ("unreadable", detail)
