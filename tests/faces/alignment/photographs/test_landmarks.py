"""Landmark files: accepted forms, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces.alignment.photographs.landmarks import read_landmarks

LINE = "Zoë Müller/b 2.jpg\t1\t2\t3\t4\t5\t6\t7\t8\t9\t10.5"


def test_points_with_and_without_a_score(tmp_path: Path) -> None:
    path = tmp_path / "points.tsv"
    path.write_bytes(f"{LINE}\t0.25\r\n\n顔/x.png\t0\t0\t-1\t0\t1e1\t0\t0\t0\t0\t0\n".encode())
    faces = read_landmarks(path).faces
    assert list(faces) == ["Zoë Müller/b 2.jpg", "顔/x.png"]
    first, second = faces.values()
    np.testing.assert_array_equal(first.points, [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10.5]])
    assert (first.score, second.score) == (0.25, None)
    assert second.points[2].tolist() == [10, 0]


def test_the_landmark_file_of_lfw(data_dir: Path) -> None:
    faces = read_landmarks(data_dir / "lfw250_landmarks.tsv").faces
    assert len(faces) == 13_233
    assert faces["AJ_Cook/AJ_Cook_0001.jpg"].points[0].tolist() == [98.67, 114.76]
    assert faces["AJ_Cook/AJ_Cook_0001.jpg"].score == 0.941


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a/1.jpg", "found 0 values after the path"),
        (LINE.encode() + b"\t0.9\t7", "found 12 values after the path"),
        (LINE.encode().replace(b"\t", b" "), "found 0 values after the path"),
        (LINE.encode().replace(b"10.5", b"ten"), "'ten' is not a number"),
        (LINE.encode().replace(b"10.5", b"nan"), "'nan' is not a number"),
        (LINE.encode().replace(b"10.5", b"-inf"), "'-inf' is not a number"),
        (LINE.encode().replace(b"10.5", b""), "'' is not a number"),
        (b"a/1.jpg" + 10 * b"\t3", "the five points coincide"),
        (b"a/1.jpg" + 9 * b"\t3" + b"\t3.0001", "the five points coincide"),
        (LINE.encode().replace(b"10.5", b"-1e300"), "a coordinate exceeds 1000000 pixels"),
        (LINE[LINE.index("\t") :].encode(), "the path is missing"),
        (b"\xff\xfe" + LINE.encode(), "it is not UTF-8"),
    ],
)
def test_an_invalid_line_is_named(tmp_path: Path, line: bytes, expected: str) -> None:
    path = tmp_path / "points.tsv"
    path.write_bytes(f"{LINE}\n\n".encode() + line + b"\n")
    with pytest.raises(FedfrError) as error:
        read_landmarks(path)
    expectation = "expected path, x1 y1 … x5 y5 and optionally a score, separated by tabs"
    assert str(error.value) == f"{path}, line 3: {expected}; {expectation}"


def test_empty_repeated_and_missing_landmarks(tmp_path: Path) -> None:
    path = tmp_path / "points.tsv"
    path.write_text(f"{LINE}\n{LINE}\n", encoding="utf-8")
    with pytest.raises(FedfrError, match=r"points\.tsv, line 2: Zoë Müller/b 2\.jpg is listed twice"):
        read_landmarks(path)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(FedfrError, match="holds no landmarks"):
        read_landmarks(path)
    with pytest.raises(FedfrError, match=r"cannot read the landmarks .*gone: No such file"):
        read_landmarks(tmp_path / "gone")
