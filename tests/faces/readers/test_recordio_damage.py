"""Truncated and damaged RecordIO files: faces, or one line that names the record."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.recordio_files import insightface, records

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, FacesWarning, import_recordio
from fedfr.faces.readers.recordio import RecordFile, iterate_records

T = TypeVar("T")


Make = Callable[[Path], Path]


def attempted(work: Callable[[], T]) -> tuple[T | None, str]:
    """Return the result or the error line; any exception other than :class:`FedfrError` fails the test."""
    try:
        return work(), ""
    except FedfrError as error:
        return None, str(error)


@pytest.mark.parametrize("make", [records, insightface])
@pytest.mark.parametrize("index", [True, False])
def test_truncated_at_every_byte(tmp_path: Path, make: Make, index: bool) -> None:
    path = make(tmp_path / "train.rec")
    ends = [record.end for record in iterate_records(RecordFile(path))]
    samples = ends[:3] if make is records else ends[1:4]
    if not index:
        path.with_suffix(".idx").unlink()
    assert len(import_recordio(path)) == 3
    for kept in reversed(range(path.stat().st_size)):
        os.truncate(path, kept)
        with pytest.raises(FedfrError) as caught:
            import_recordio(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert "\n" not in message
        if kept >= 4:
            assert re.search(r"record( \d+)? at byte \d+ ", message), message
        whole = sum(end <= kept for end in samples)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FacesWarning)
            if whole:
                faces = import_recordio(path, skip_bad=True)
                assert faces.images(range(len(faces))).mean((1, 2, 3)).tolist() == [10, 20, 30][:whole]
            else:
                with pytest.raises(FedfrError, match=r"holds no images|is empty"):
                    import_recordio(path, skip_bad=True)


def test_an_index_truncated_at_every_byte(tmp_path: Path) -> None:
    path = records(tmp_path / "train.rec")
    index = path.with_suffix(".idx")
    content = index.read_bytes()
    for kept in range(len(content) - 1):
        index.write_bytes(content[:kept])
        with pytest.raises(FedfrError, match=r"train\.(idx, line|rec: record)"):
            import_recordio(path).digests()
    index.write_bytes(content[:-1])  # only the end of the last line is gone
    assert len(import_recordio(path)) == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Content of small files and their indices, to be damaged."""
    folder = tmp_path_factory.mktemp("whole")
    records(folder / "fedfr.rec")
    insightface(folder / "insightface.rec")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=200, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8),
    layout=st.sampled_from(["fedfr", "insightface"]),
    index=st.booleans(),
    skip_bad=st.booleans(),
)
def test_damaged_bytes_give_faces_or_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    whole: dict[str, bytes],
    changes: list[tuple[int, int]],
    layout: str,
    index: bool,
    skip_bad: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged-{layout}-{index}.rec"
    content = bytearray(whole[f"{layout}.rec"])
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    if index and not path.with_suffix(".idx").exists():
        path.with_suffix(".idx").write_bytes(whole[f"{layout}.idx"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FacesWarning)
        faces, said = attempted(lambda: import_recordio(path, skip_bad=skip_bad))
    assert "\n" not in said
    if faces is not None:
        images, said = attempted(lambda: faces.images(range(len(faces))))
        assert "\n" not in said
        assert not (skip_bad and said)
        assert images is None or images.shape == (len(faces), 112, 112, 3)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60), after=st.booleans())
def test_a_damaged_index_gives_faces_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], content: bytes, after: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "index.rec"
    if not path.exists():
        path.write_bytes(whole["fedfr.rec"])
    path.with_suffix(".idx").write_bytes(whole["fedfr.idx"] + content if after else content)
    faces, said = attempted(lambda: import_recordio(path))
    assert "\n" not in said
    assert faces is None or len(faces) == 3


def test_bad_records_are_left_out_counted_and_listed(tmp_path: Path) -> None:
    path = insightface(tmp_path / "train.rec", [0, 0, 1, 1, 2])
    offsets = [record.offset for record in iterate_records(RecordFile(path))]
    content = bytearray(path.read_bytes())
    content[offsets[2] + 2] ^= 1  # a magic
    content[offsets[4] + 60] ^= 1  # inside an image: its header
    path.write_bytes(content)
    with pytest.raises(FedfrError, match=f"record 2 at byte {offsets[2]} has 0a 23 d6 ce, not 0a 23 d7 ce, at byte"):
        import_recordio(path, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    for link in (True, False):
        dest = tmp_path / f"set {link}"
        with pytest.warns(FacesWarning, match="left out 2 bad records") as caught:
            faces = import_recordio(path, dest, link=link, skip_bad=True)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        message = str(caught[0].message)
        assert f"record 2 at byte {offsets[2]} has 0a 23 d6 ce" in message
        assert f"record 4 at byte {offsets[4]} holds" in message
        assert faces.names == ("0000000/00000001", "0000001/00000003", "0000002/00000005")
        assert faces.images(range(3)).mean((1, 2, 3)).tolist() == [10, 30, 50]
        lines = [line.split("\t") for line in (dest / "dropped.tsv").read_text().splitlines()]
        assert [line[:2] for line in lines] == [["record 2", str(offsets[2])], ["record 4", str(offsets[4])]]
        assert FaceSet.load(dest).fingerprint() == faces.fingerprint()


def test_a_file_without_valid_records_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(b"\x0a\x23\xd7\xce\xff\xff\xff\x1f" * 20_000)
    with pytest.raises(FedfrError, match=r"train\.rec has more than 10000 bad records; fetch it again"):
        import_recordio(path, skip_bad=True)
