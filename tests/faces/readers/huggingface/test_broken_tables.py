"""Truncated, damaged and unsuitable tables: one-line errors and no leftovers."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.huggingface_files import as_parquet, as_saved, named, png, table

from fedfr.core.errors import FedfrError
from fedfr.faces import import_faces, import_parquet, import_saved_dataset

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install 'fedfr[hf]'")


@pytest.mark.parametrize("path", ["../secret.png", "{outside}/secret.png", "gone.png"])
def test_images_outside_the_data_set_are_not_read(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(1))
    (tmp_path / "set").mkdir()
    rows = [{"bytes": None, "path": path.format(outside=tmp_path)}]
    source = table(tmp_path / "set" / "x.parquet", image=rows, identity=["a"])
    with pytest.raises(FedfrError, match=r"row 0 of .* (outside the data set, |cannot be read)"):
        import_parquet(source)


def test_unsuitable_columns_are_refused(tmp_path: Path) -> None:
    images = [png(1)]
    for columns, message in (
        (
            {"photo": images, "identity": ["a"]},
            r"no column 'image' for images; it has photo, identity; choose one with --image-col",
        ),
        (
            {"image": images, "who": ["a"]},
            r"no column 'identity' for identities; it has image, who; choose one with --identity-column",
        ),
        ({"image": ["a.png"], "identity": ["a"]}, r"column 'image' holds string; expected images, a struct of bytes"),
        ({"image": [{"bytes": b""}], "identity": ["a"]}, r"column 'image' holds struct<bytes: binary>; expected"),
        ({"image": [[1, 2]], "identity": ["a"]}, r"column 'image' holds list<.*>; expected images"),
        ({"image": images, "identity": [0.5]}, r"column 'identity' holds double; expected names or numbers"),
        ({"image": images, "identity": [True]}, r"column 'identity' holds bool; expected names or numbers"),
    ):
        with pytest.raises(FedfrError, match=message) as caught:
            import_parquet(table(tmp_path / "x.parquet", **columns))
        assert "\n" not in str(caught.value)
    with pytest.raises(FedfrError, match="has no column 'face'"):
        import_parquet(tmp_path / "x.parquet", image_column="face")
    none = table(tmp_path / "none.parquet", image=pa.array([], pa.binary()), identity=pa.array([], pa.string()))
    with pytest.raises(FedfrError, match="holds no images to import; give"):
        import_parquet(none)


def test_a_parquet_file_truncated_at_every_byte(hf: Any, tmp_path: Path) -> None:
    path = as_parquet(named(hf).select([0]), tmp_path)
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(FedfrError, match=r"\.parquet is not a complete Parquet file") as caught:
            import_faces(path, tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_an_arrow_file_truncated_at_every_byte(hf: Any, tmp_path: Path) -> None:
    path = as_saved(named(hf).select([0]), tmp_path) / "data-00000-of-00001.arrow"
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        with pytest.raises(FedfrError, match=r"\.arrow is not a complete Arrow file") as caught:
            import_faces(path.parent, tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path.parent]


def test_missing_batches_at_the_end_are_refused(tmp_path: Path, hf: Any) -> None:
    """Arrow itself accepts a stream truncated between two batches."""
    named(hf).save_to_disk(str(tmp_path / "saved"))
    path = tmp_path / "saved" / "data-00000-of-00001.arrow"
    whole = pa.ipc.open_stream(path.read_bytes()).read_all()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole.slice(0, 3))
        end = sink.tell()
        writer.write_table(whole.slice(3))
    path.write_bytes(sink.getvalue())
    assert len(import_saved_dataset(tmp_path / "saved")) == 5
    path.write_bytes(sink.getvalue()[:end])
    assert pa.ipc.open_stream(path.read_bytes()).read_all().num_rows == 3
    with pytest.raises(FedfrError, match="its end is missing"):
        import_saved_dataset(tmp_path / "saved")


def test_damaged_bytes_are_refused_or_harmless(hf: Any, tmp_path: Path) -> None:
    """Any overwritten byte gives a face set or a one-line error, never another exception."""
    source = as_parquet(named(hf).select([0, 1]), tmp_path)
    saved = as_saved(named(hf).select([0, 1]), tmp_path)
    lines: list[str] = []
    for path, place in ((source, source), (saved / "data-00000-of-00001.arrow", saved)):
        content = path.read_bytes()
        for at in np.random.default_rng(3).permutation(len(content))[:150].tolist():
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                import_faces(place)
            except FedfrError as error:
                lines.append(str(error))
        path.write_bytes(content)
    assert len(lines) > 100
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 40, b"not a table\n" * 50, b"PK\x03\x04" + bytes(200)])
def test_files_of_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wrong.parquet"
    path.write_bytes(content)
    with pytest.raises(FedfrError, match=r"wrong\.parquet is not a complete Parquet file") as caught:
        import_faces(path)
    assert "\n" not in str(caught.value)


def test_an_incomplete_saved_folder_is_refused(hf: Any, tmp_path: Path) -> None:
    named(hf).save_to_disk(str(tmp_path / "saved"))
    state = json.loads((tmp_path / "saved" / "state.json").read_text())
    for change, message in (
        ({"_data_files": []}, "state.json has no list '_data_files'; save"),
        ({"_data_files": "data"}, "state.json has no list '_data_files'; save"),
        ({"_data_files": [{"filename": "../x.arrow"}]}, "lists '../x.arrow', which is not a file name in its folder"),
        ({"_data_files": ["x"]}, "lists None, which is not a file name in its folder"),
        (
            {"_data_files": [{"filename": "gone.arrow"}]},
            r"cannot read .*gone\.arrow: No such file",
        ),
        ({"_indices_files": [{"filename": "i.arrow"}]}, "call Dataset.flatten_indices before saving it"),
    ):
        (tmp_path / "saved" / "state.json").write_text(json.dumps(state | change))
        with pytest.raises(FedfrError, match=message):
            import_faces(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"fil')
    with pytest.raises(FedfrError, match="is not readable JSON"):
        import_faces(tmp_path / "saved")
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(FedfrError, match=r"train/state\.json does not exist"):
        import_faces(tmp_path / "saved")


def test_invalid_destinations_are_refused(hf: Any, tmp_path: Path) -> None:
    saved = as_saved(named(hf), tmp_path)
    with pytest.raises(FedfrError, match=r"is inside the source .*; choose another dest"):
        import_faces(saved, saved / "faces")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").touch()
    with pytest.raises(FedfrError, match="already holds files"):
        import_faces(saved, tmp_path / "used")
    with pytest.raises(FedfrError, match=r"nowhere\.parquet does not exist"):
        import_faces(tmp_path / "nowhere.parquet")
    with pytest.raises(FedfrError, match="--link has no effect on"):
        import_faces(saved, tmp_path / "out", link=True)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read anything")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    source = table(tmp_path / "x.parquet", image=[png(1)], identity=["a"])
    source.chmod(0)
    with pytest.raises(FedfrError, match=r"cannot read .*x\.parquet: Permission denied; check the path"):
        import_faces(source)


def test_without_pyarrow_the_install_command_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(FedfrError, match=r"need pyarrow; pip install 'fedfr\[hf\]'"):
        import_faces(tmp_path / "x.parquet")


def test_an_image_that_is_too_large_is_refused(tmp_path: Path) -> None:
    header = png(1)[:16] + (60_000).to_bytes(4, "big") * 2 + png(1)[24:]
    with pytest.raises(FedfrError, match=r"row 0 of .* holds an image of 60000x60000 pixels; at most"):
        import_parquet(table(tmp_path / "bomb.parquet", image=[header], identity=["a"]))
