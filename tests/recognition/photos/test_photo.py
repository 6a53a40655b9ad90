"""Reading of untrusted photos: paths, content and arrays; limits, and formats that are unusual."""

from __future__ import annotations

import os
import resource
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.photograph_files import png_header, texture, with_orientation

from fedfr.faces.alignment.photographs.photograph_reading import PhotographLimits
from fedfr.recognition import RejectedPhoto, read_photo
from fedfr.recognition.photos.photo import FILE_LIMITS, UPLOAD_LIMITS

IMAGE = texture(60, 90)
BGR = np.ascontiguousarray(IMAGE[..., ::-1])
PNG = cv2.imencode(".png", BGR)[1].tobytes()
JPEG = cv2.imencode(".jpg", BGR, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def rejected(photo: object, **options: object) -> tuple[str, str]:
    with pytest.raises(RejectedPhoto) as found:
        read_photo(photo, **options)  # type: ignore[arg-type]
    assert "\n" not in str(found.value)
    return found.value.code, found.value.detail


def test_path_text_content_and_array_are_the_same_photo(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    for photo in (path, str(path), PNG, IMAGE, np.asfortranarray(IMAGE)):
        found = read_photo(photo)
        np.testing.assert_array_equal(found, IMAGE)
        assert found.flags.c_contiguous
    turned = with_orientation(JPEG, 6)
    np.testing.assert_array_equal(read_photo(turned), np.rot90(read_photo(JPEG), -1))


@pytest.mark.parametrize("options", [[cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_QUALITY, 30], []])
def test_a_jpeg_has_the_same_pixels_in_either_order_of_colours(options: list[int]) -> None:
    """Decoded to RGB at once, with and without an end marker."""
    content = cv2.imencode(".jpg", BGR, options)[1].tobytes()
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    for photo in (content, content[:-2]):
        np.testing.assert_array_equal(read_photo(photo), decoded[..., ::-1])


def test_grey_alpha_and_sixteen_bits_become_rgb() -> None:
    grey = IMAGE[..., 0]
    np.testing.assert_array_equal(read_photo(grey), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(read_photo(cv2.imencode(".png", grey)[1].tobytes()), read_photo(grey))
    wide = cv2.imencode(".png", BGR.astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(read_photo(wide), IMAGE)
    transparent = np.dstack([BGR, np.zeros(BGR.shape[:2], np.uint8)])
    np.testing.assert_array_equal(read_photo(cv2.imencode(".png", transparent)[1].tobytes()), IMAGE)


def cmyk_jpeg() -> bytes:
    """A JPEG of four inverted channels with Adobe's marker, as Photoshop writes: pure red."""
    # One block of 8x8 for each channel, all DC: C = 255 (none, inverted), M = 0, Y = 0, K = 255.
    quantization = b"\xff\xdb" + struct.pack(">HB", 67, 0) + b"\x01" * 64
    adobe = b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, 0)
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 20, 8, 8, 8, 4) + b"".join(bytes([n, 0x11, 0]) for n in range(1, 5))
    # DC table: codes 0 → category 0, 10 → 10 and 110 → 11 bits; AC table: code 0 → end of block.
    dc = b"\xff\xc4" + struct.pack(">HB", 22, 0x00) + bytes([1, 1, 1] + [0] * 13) + bytes([0, 10, 11])
    ac = b"\xff\xc4" + struct.pack(">HB", 20, 0x10) + bytes([1] + [0] * 15) + b"\x00"
    scan = b"\xff\xda" + struct.pack(">HB", 14, 4) + b"".join(bytes([n, 0x00]) for n in range(1, 5)) + b"\x00\x3f\x00"
    bits = ""
    for level in (255, 0, 0, 255):
        value = (level - 128) * 8
        size = abs(value).bit_length()
        code = {10: "10", 11: "110"}[size]
        bits += code + format(value if value > 0 else value + (1 << size) - 1, f"0{size}b") + "0"
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return b"\xff\xd8" + adobe + quantization + frame + dc + ac + scan + data + b"\xff\xd9"


def test_cmyk_becomes_rgb() -> None:
    found = read_photo(cmyk_jpeg())
    assert found.shape == (8, 8, 3)
    np.testing.assert_allclose(found.reshape(-1, 3), np.tile([255, 0, 0], (64, 1)), atol=6)


def apng() -> bytes:
    """A PNG whose first image is IMAGE and that announces a second one."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    at = 8 + 25  # after IHDR
    control = chunk(b"acTL", struct.pack(">II", 2, 0))
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 90, 60, 0, 0, 1, 10, 0, 0))
    second = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 90, 60, 0, 0, 1, 10, 0, 0))
    black = chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes(60 * (1 + 90 * 3))))
    return PNG[:at] + control + frame + PNG[at:-12] + second + black + PNG[-12:]


def gif(images: int) -> bytes:
    """A GIF of 2x1 pixels, red and green at first, then black."""
    palette = bytes([255, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0])
    content = b"GIF89a" + struct.pack("<HHBBB", 2, 1, 0x81, 0, 0) + palette
    for number in range(images):
        first, second = (0, 1) if number == 0 else (2, 2)
        # LZW of 3-bit codes: clear (4), the two pixels, end (5).
        codes = (4 | first << 3 | second << 6 | 5 << 9).to_bytes(2, "little")
        content += b"\x21\xf9\x04\x00\x0a\x00\x00\x00\x2c" + struct.pack("<HHHHB", 0, 0, 2, 1, 0)
        content += b"\x02\x02" + codes + b"\x00"
    return content + b"\x3b"


def test_the_first_image_of_an_animation_is_read() -> None:
    np.testing.assert_array_equal(read_photo(apng()), IMAGE)
    np.testing.assert_array_equal(read_photo(gif(3)), [[[255, 0, 0], [0, 255, 0]]])


@pytest.mark.parametrize(
    ("photo", "detail"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 no photo", "not an image of a known format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known format"),
        (PNG[:-20], "damaged or truncated"),
        (JPEG[: len(JPEG) // 2], "damaged or truncated"),
        ("no such file.jpg", "No such file or directory"),
        ("nul\0byte.jpg", "not a valid path"),
        (".", "not a regular file"),
        (None, "a NoneType, not a path, bytes or an array"),
        (IMAGE.astype(np.float32), "an array float32 (60, 90, 3), not RGB uint8 (height, width, 3)"),
        (np.zeros((0, 5, 3), np.uint8), "an array uint8 (0, 5, 3), not RGB uint8 (height, width, 3)"),
        (np.zeros((5, 5, 4), np.uint8), "an array uint8 (5, 5, 4), not RGB uint8 (height, width, 3)"),
    ],
)
def test_unreadable_photos(photo: object, detail: str) -> None:
    assert rejected(photo) == ("unreadable", detail)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert rejected(tmp_path / "pipe.jpg") == ("unreadable", "not a regular file")


def test_limits_of_bytes_and_pixels(tmp_path: Path) -> None:
    assert PhotographLimits(10 << 20, 40_000_000) == UPLOAD_LIMITS
    assert rejected(JPEG + bytes(10 << 20)) == (
        "too-large",
        f"{len(JPEG) + (10 << 20)} bytes; at most 10485760 are read",
    )
    large = tmp_path / "large.jpg"
    large.write_bytes(JPEG + bytes(10 << 20))
    assert read_photo(large).shape == (60, 90, 3)
    with large.open("wb") as file:
        file.truncate(FILE_LIMITS.bytes + 1)
    assert rejected(large)[0] == "too-large"
    assert rejected(png_header(8000, 5001)) == ("too-large", "8000x5001 pixels; at most 40000000 are decoded")
    assert rejected(np.broadcast_to(np.uint8(0), (12_001, 10_000, 3)))[0] == "too-large"
    assert rejected(IMAGE, limits=PhotographLimits(pixels=5399))[0] == "too-large"
    assert read_photo(IMAGE, limits=PhotographLimits(pixels=5400)).shape == (60, 90, 3)


def test_a_bomb_is_refused_before_memory_is_allocated() -> None:
    """40 000 × 40 000 pixels would be 4.8 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        assert rejected(png_header(40_000, 40_000))[0] == "too-large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    """Each scan, of a few bytes, is decoded over the whole image."""
    progressive = cv2.imencode(".jpg", BGR, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert read_photo(progressive).shape == (60, 90, 3)
    start = progressive.rindex(b"\xff\xda")
    many = progressive[:-2] + progressive[start:-2] * 200 + b"\xff\xd9"
    assert rejected(many) == ("unreadable", "a JPEG of more than 30 scans")


def test_an_aligned_crop_has_112_pixels() -> None:
    assert read_photo(texture(112, 112), aligned=True).shape == (112, 112, 3)
    assert rejected(IMAGE, aligned=True) == ("unreadable", "90x60 pixels; an aligned face crop has 112x112")
