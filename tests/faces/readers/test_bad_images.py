"""Unreadable images: all are listed, or left out with a list, in bounded memory."""

from __future__ import annotations

import csv
import os
import socket
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.fuzz.bounds import bounded

from fedfr.core.errors import FedfrError
from fedfr.faces.encoded_images import decode_image
from fedfr.faces.image_headers import any_image_size
from fedfr.faces.readers import import_folder, import_imagefolder
from fedfr.faces.readers.aligned_folder import open_folder
from fedfr.faces.readers.image_reading import FacesWarning, read_image

NOISE = cv2.resize(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), (112, 112))


def encoded(suffix: str, *options: int, image: np.ndarray = NOISE) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def flat_png(side: int) -> bytes:
    """Return a black PNG, a small file for any size of image."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + side)) for _ in range(side)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def with_sides(content: bytes, suffix: str, width: int, height: int) -> bytes:
    """An image whose header announces other sides."""
    made = bytearray(content)
    if suffix == ".jpg":
        struct.pack_into(">HH", made, made.index(b"\xff\xc0") + 5, height, width)
    elif suffix == ".bmp":
        struct.pack_into("<ii", made, 18, width, height)
    elif suffix == ".gif":
        struct.pack_into("<HH", made, 6, width, height)
    elif suffix in (".pgm", ".ppm"):
        return b"P%d\n# made\n%d %d\n255\n" % (5 if suffix == ".pgm" else 6, width, height)
    elif suffix == ".webp":
        return b"RIFF\x16\0\0\0WEBPVP8X" + struct.pack("<II", 10, 0) + _three(width) + _three(height)
    else:
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, side) for tag, side in ((256, width), (257, height)))
        return b"II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    return bytes(made)


def _three(side: int) -> bytes:
    return (side - 1).to_bytes(3, "little")


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".gif", ".pgm", ".ppm", ".webp", ".tiff"])
def test_decompression_bombs_are_recognized_by_their_header(suffix: str, tmp_path: Path) -> None:
    whole = encoded(suffix) if suffix in (".jpg", ".bmp", ".gif") else b""
    bomb = with_sides(whole, suffix, 15_001, 15_000)
    assert any_image_size(bomb) == (15_000, 15_001)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(bomb)
    with (
        bounded(64),
        pytest.raises(FedfrError, match=r"bomb.* \(it holds an image of 15001x15000 pixels; at most 67"),
    ):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".gif", ".pgm", ".ppm", ".webp", ".tiff"])
def test_sizes_in_headers_of_every_format(suffix: str, tmp_path: Path) -> None:
    image = NOISE[:90, :70]
    content = encoded(suffix, image=image[:, :, 0] if suffix == ".pgm" else image)
    assert any_image_size(content) == (90, 70)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert read_image(path).shape == (90, 70, 3)


def test_a_huge_image_of_one_colour_is_not_decoded(tmp_path: Path) -> None:
    """A few hundred kilobytes that would take 700 MB."""
    people = tmp_path / "people" / "anna"
    people.mkdir(parents=True)
    (people / "1.png").write_bytes(flat_png(15_000))
    too_large = r"1\.png is not a readable image \(it holds an image of 15000x15000 pixels"
    with bounded(64):
        with pytest.raises(FedfrError, match=too_large):
            import_folder(people.parent)
        with pytest.raises(FedfrError, match=too_large):
            open_folder(people.parent).images([0])
        with pytest.raises(ValueError, match="holds an image of 15000x15000 pixels; at most 67108864"):
            decode_image((people / "1.png").read_bytes())


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)])
def test_a_jpeg_without_its_end_marker_is_complete(
    options: tuple[int, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, path = encoded(".jpg", *options), tmp_path / "a.jpg"
    path.write_bytes(whole)
    expected = read_image(path)
    for cut in (1, 2):
        path.write_bytes(whole[:-cut])
        assert np.array_equal(read_image(path), expected)
        assert np.array_equal(decode_image(whole[:-cut]), expected)
    for cut in (6, 10, 200, len(whole) // 2, len(whole) - 700):
        path.write_bytes(whole[:-cut])
        with pytest.raises(FedfrError, match=r"a\.jpg is not a readable image \(it holds a truncated JPEG\)"):
            read_image(path)
    if not options:
        assert capfd.readouterr().err == ""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Anna has two images and a damaged one, bo no readable one, cy one."""
    folder = tmp_path / "people"
    for name in ("anna/1.png", "anna/2.png", "cy/1.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(".png"))
    (folder / "bo").mkdir()
    (folder / "bo" / "1.png").write_bytes(b"no image")
    (folder / "anna" / "3.png").write_bytes(encoded(".png")[:-30])
    return folder


def test_all_bad_images_are_named_in_one_run(people: Path, tmp_path: Path) -> None:
    with pytest.raises(
        FedfrError,
        match=r"2 of 5 images cannot be used: .*anna/3\.png .*corrupt or truncated\); .*bo/1\.png .*known kind\); "
        r"repair or remove them, or leave such files out with `fedfr faces import --skip-bad`",
    ):
        import_folder(people, tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_bad_images_are_left_out_with_a_list(people: Path, tmp_path: Path) -> None:
    with pytest.warns(FacesWarning, match="left out 2 of 5 images .*and with them 1 identities .bo.: "):
        faces = import_folder(people, tmp_path / "set", skip_bad=True)
    assert faces.identities == ("anna", "cy")
    assert faces.labels.tolist() == [0, 0, 1]
    assert faces.names == ("anna/1.png", "anna/2.png", "cy/1.png")
    with (tmp_path / "set" / "skipped.csv").open(encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(line["path"], line["reason"]) for line in listed] == [
        ("anna/3.png", "unreadable"),
        ("bo/1.png", "unreadable"),
    ]
    assert "corrupt or truncated" in listed[0]["detail"]


def test_broken_links_and_other_entries_are_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    (folder / "anna").mkdir(parents=True)
    (folder / "anna" / "1.png").write_bytes(encoded(".png"))
    (folder / "anna" / "2.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "anna" / "3.png").symlink_to("3.png")
    os.mkfifo(folder / "anna" / "4.png")
    (folder / "anna" / "5.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "anna" / "6.png"))
    (folder / "bo").symlink_to("bo")
    with pytest.warns(FacesWarning, match="left out 5 broken links or special files and 1 other file or nested folder"):
        faces = import_folder(folder)
    assert faces.names == ("anna/1.png",)
    (folder / "train" / "cy").mkdir(parents=True)
    (folder / "train" / "cy" / "1.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "train" / "cy" / "2.png")
    with pytest.raises(FedfrError, match=r"2 of 2 rows cannot be used: .*not a regular file.*not a regular file"):
        import_imagefolder(folder)
    for name in ("4.png", "5.png"):
        with pytest.raises(FedfrError, match=f"cannot read .*{name}: it is not a regular file; check the file"):
            read_image(folder / "anna" / name)


def test_a_pgm_header_of_blanks_is_parsed_in_linear_time(tmp_path: Path) -> None:
    """Nested repetitions in a pattern would take exponential time."""
    path = tmp_path / "a.pgm"
    for content in (
        b"P5" + b" " * 1000 + b"x",
        b"P5" + b"# \n" * 250 + b"x",
        b"P5 9999 9999 255\r\n" + b"\r\n" * 300_000,
    ):
        path.write_bytes(content)
        with pytest.raises(FedfrError, match=r"a\.pgm is not a readable image"):
            read_image(path)
