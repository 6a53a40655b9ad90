"""Repair of PGM images that were copied in text mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedfr.faces.readers.image_reading import read_image


@pytest.mark.parametrize("maximum", [255, 100, 65535])
@pytest.mark.parametrize("everywhere", [False, True])
def test_pgm_with_windows_line_ends_is_repaired(tmp_path: Path, maximum: int, everywhere: bool) -> None:
    values = np.random.default_rng(1).integers(0, 101, (40, 50)).astype(">u2" if maximum > 255 else np.uint8)
    values[values == 13] = 14  # a 13 before a 10 would look like a line end, see below
    values[3, 7:10] = 10, 10, 13
    plain, windows = tmp_path / "plain.pgm", tmp_path / "windows.pgm"
    header, body = b"P5\n50 40\n%d\n" % maximum, values.tobytes()
    plain.write_bytes(header + body)
    if everywhere:
        windows.write_bytes((header + body).replace(b"\n", b"\r\n"))
    else:
        windows.write_bytes(header.replace(b"\n", b"\r\n") + body)
    np.testing.assert_array_equal(read_image(windows), read_image(plain))


def test_the_only_consistent_repair_is_found(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:30, 0:40]
    values = ((rows + 5 * columns) // 2).astype(np.uint8)  # smooth down the columns
    values[4, 7], values[20, 9], values[25, 25:27] = 10, 10, (13, 10)
    header = b"P5\r\n40 30\r\n255\r\n"
    pairs = values.tobytes().split(b"\r\n")
    path = tmp_path / "one.pgm"
    path.write_bytes(header + b"\r\n".join(part.replace(b"\n", b"\r\n") for part in pairs))
    np.testing.assert_array_equal(read_image(path)[..., 0], values)


def test_other_lengths_are_unchanged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "long.pgm"
    path.write_bytes(b"P5\n3 1\n255\n" + bytes([1, 2, 3, 4, 5]))
    assert read_image(path)[0, :, 0].tolist() == [1, 2, 3]
    assert capfd.readouterr().err == ""
