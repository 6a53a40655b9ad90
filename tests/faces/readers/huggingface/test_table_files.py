"""Import of Parquet files and folders of ``save_to_disk`` written by the library ``datasets``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.support.huggingface_files import PEOPLE, as_parquet, as_saved, flat, named, png, table

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, FacesWarning, import_faces, import_parquet, import_saved_dataset, importer_for

pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install 'fedfr[hf]'")

Write = Callable[[Any, Path], Path]

BOTH = pytest.mark.parametrize("write", [as_parquet, as_saved])


def greens(faces: FaceSet) -> list[int]:
    """Return the green level of each image, which must have a single colour."""
    pixels = faces.images(range(len(faces)))
    assert (pixels == pixels[:, :1, :1]).all()
    colours = pixels[:, 0, 0].astype(int)
    assert (colours[:, 0] == 0).all()
    assert (colours[:, 1] == 2 * colours[:, 2]).all()
    return [int(value) for value in colours[:, 1]]


@BOTH
def test_images_and_classes_keep_their_order(hf: Any, write: Write, tmp_path: Path) -> None:
    place = tmp_path / "Daten für Анна"
    place.mkdir()
    source = write(named(hf), place)
    seen: list[tuple[int, int]] = []
    faces = import_faces(source, progress=lambda *done: seen.append(done))
    assert faces.identities == PEOPLE
    assert faces.labels.tolist() == [0, 1, 0, 2, 1]
    assert greens(faces) == [20, 22, 24, 26, 28]
    assert faces.names[:2] == ("Zoë Müller/00000000", "Adam/00000001")
    assert seen == [(done, 5) for done in range(1, 6)]
    on_disk = import_faces(source, place / "face set")
    assert on_disk.fingerprint() == faces.fingerprint()
    assert on_disk.names == faces.names
    assert isinstance(on_disk._pixels, np.memmap)


def test_several_files_and_parts(hf: Any, tmp_path: Path) -> None:
    whole, test = named(hf), named(hf, ("Zoë Müller", "Bea", "Cem"))
    hf.DatasetDict(train=whole, test=test).save_to_disk(str(tmp_path / "both"), num_shards={"train": 2, "test": 1})
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for number in range(2):
        part = whole.shard(2, number, contiguous=True)
        part.to_parquet(str(tmp_path / "hub" / "data" / f"train-{number:05d}-of-00002.parquet"))
    test.to_parquet(str(tmp_path / "hub" / "data" / "test-00000-of-00001.parquet"))
    # A person of both parts is one identity. The dictionary says which part comes first, else it is the files' names.
    for source, people in (
        (tmp_path / "both", ("Zoë Müller", "Adam", "Анна", "Bea", "Cem")),
        (tmp_path / "hub", ("Zoë Müller", "Bea", "Cem", "Adam", "Анна")),
    ):
        train = import_faces(source, part="train")
        assert train.identities == PEOPLE
        assert greens(train) == [20, 22, 24, 26, 28]
        with pytest.warns(FacesWarning) as caught:
            everything = import_faces(source)
        assert [str(each.message).partition(",")[0] for each in caught] == [
            "2 images occur again under the same identity",
            "3 images occur again under another identity",
        ]
        assert everything.identities == people
        assert greens(everything) == [20, 22, 24, 26, 28] * 2
        assert everything.counts()[0] == 4
        with pytest.raises(FedfrError, match="has no part 'dev'; it has test, train"):
            import_faces(source, part="dev")


def test_a_selection_of_rows_is_read(hf: Any, tmp_path: Path) -> None:
    named(hf).select([4, 2]).save_to_disk(str(tmp_path / "some"))
    faces = import_saved_dataset(tmp_path / "some")
    assert greens(faces) == [28, 24]
    assert faces.identities == ("Zoë Müller", "Adam")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("L", 50), ("RGBA", 50), ("P", 50), ("I;16", 50), ("1", 255), ("CMYK", 50), ("LA", 50)],
)
def test_every_colour_mode_becomes_rgb(hf: Any, mode: str, expected: int, tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((112, 112), 50, np.uint8))
    if mode == "I;16":
        sample = Image.fromarray(np.full((112, 112), 50 * 257, np.uint16))
    elif mode == "1":
        sample = Image.fromarray(np.full((112, 112), 255, np.uint8)).convert("1")
    else:
        sample = grey.convert("RGB").convert(mode) if mode == "CMYK" else grey.convert(mode)
    features = hf.Features({"image": hf.Image(), "identity": hf.Value("string")})
    hf.Dataset.from_dict({"image": [sample], "identity": ["a"]}, features=features).to_parquet(
        str(tmp_path / "m.parquet")
    )
    pixels = import_parquet(tmp_path / "m.parquet").images([0])
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_other_sizes_are_resized_with_one_warning(hf: Any, tmp_path: Path) -> None:
    samples = [flat(5), flat(6, (250, 250)), flat(7, (40, 90))]
    features = hf.Features({"image": hf.Image(), "identity": hf.Value("string")})
    dataset = hf.Dataset.from_dict({"image": samples, "identity": ["b", "a", "b"]}, features=features)
    dataset.to_parquet(str(tmp_path / "sizes.parquet"))
    with pytest.warns(FacesWarning, match="2 of 3 images were not 112x112 and resized") as caught:
        faces = import_parquet(tmp_path / "sizes.parquet")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert faces.identities == ("a", "b")
    assert greens(faces) == [10, 12, 14]


@BOTH
@pytest.mark.parametrize("kind", ["int64", "int8", "string"])
def test_negative_labels_are_not_identities(hf: Any, write: Write, kind: str, tmp_path: Path) -> None:
    """Tables use negative numbers for "no label" in columns that are not ClassLabel."""
    features = hf.Features({"image": hf.Image(), "label": hf.Value(kind)})
    labels = [text if kind == "string" else int(text) for text in ("3", "-1", "0", "-1", "3")]
    rows = {"image": [flat(number) for number in range(5)], "label": labels}
    source = write(hf.Dataset.from_dict(rows, features=features), tmp_path)
    with pytest.raises(FedfrError, match=r"2 of 5 rows .*row 1 of .* has no identity"):
        import_faces(source)
    with pytest.warns(FacesWarning, match="left out 2 bad rows"):
        faces = import_faces(source, skip_bad=True)
    assert faces.identities == (("0", "3") if kind == "string" else ("0000000", "0000003"))


@BOTH
def test_rows_without_image_or_identity(hf: Any, write: Write, tmp_path: Path) -> None:
    features = hf.Features({"image": hf.Image(), "identity": hf.ClassLabel(names=["a", "b"])})
    broken = {"bytes": png(3)[:200], "path": None}
    rows = {"image": [flat(1), None, flat(2), broken, flat(4)], "identity": [0, 1, None, 1, -1]}
    source = write(hf.Dataset.from_dict(rows, features=features), tmp_path)
    with pytest.raises(FedfrError, match=r"row 2 of .* has no identity; repair the data set, or .* --skip-bad"):
        import_faces(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.warns(FacesWarning, match="left out 4 bad rows") as caught:
        faces = import_faces(source, tmp_path / "out", skip_bad=True)
    assert len(caught) == 1
    assert greens(faces) == [2]
    assert faces.identities == ("a",)
    dropped = (tmp_path / "out" / "dropped.tsv").read_text().splitlines()
    assert [line.partition("\t")[2] for line in dropped] == [
        "holds no image",
        "has no identity",
        "holds an image that is corrupt or truncated",
        "has no identity",
    ]
    assert dropped[0].startswith("row 1 of ")
    only = write(hf.Dataset.from_dict({"image": [None], "identity": [0]}, features=features), tmp_path / "only")
    with pytest.raises(FedfrError, match=r"row 0 of .* holds no image; repair"):
        import_faces(only)
    with pytest.raises(FedfrError, match=r"holds no images to import: row 0 of .* holds no image; give"):
        import_faces(only, skip_bad=True)


def test_repeated_rows_are_kept_and_counted(tmp_path: Path) -> None:
    source = table(tmp_path / "twice.parquet", image=[png(1), png(2), png(1), png(1)], identity=["a", "a", "a", "b"])
    with pytest.warns(FacesWarning) as caught:
        faces = import_parquet(source)
    assert [str(each.message) for each in caught] == [
        f"1 images occur again under the same identity, first row 2 of {source}",
        f"1 images occur again under another identity, first row 3 of {source}; one label is wrong",
    ]
    assert greens(faces) == [2, 4, 2, 2]
    assert len(set(faces.names)) == 4


def test_files_of_other_tools(tmp_path: Path) -> None:
    """Bytes alone, numbers without names, categories, columns of other names, paths beside the file."""
    samples, numbers = [png(1), png(2), png(3)], [12, 7, 12]
    faces = import_parquet(table(tmp_path / "bytes.parquet", image=samples, label=numbers))
    assert faces.identities == ("0000007", "0000012")
    assert faces.labels.tolist() == [1, 0, 1]
    people = pa.array(["bo", "al", "bo"]).dictionary_encode()
    faces = import_parquet(
        table(tmp_path / "words.parquet", face=pa.array(samples, pa.large_binary()), who=people),
        image_column="face",
        identity_column="who",
    )
    assert faces.identities == ("al", "bo")
    assert greens(faces) == [2, 4, 6]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bo_0001.png").write_bytes(png(9))
    beside = [{"bytes": None, "path": "images/bo_0001.png"}, {"bytes": png(8), "path": "deep/bo_0002.png"}]
    faces = import_parquet(table(tmp_path / "paths.parquet", image=beside, identity=["bo", "bo"]))
    assert greens(faces) == [18, 16]
    assert faces.names == ("bo/bo_0001.png", "bo/bo_0002.png")


def test_choice_of_the_importer(hf: Any, tmp_path: Path) -> None:
    source = as_parquet(named(hf), tmp_path)
    assert importer_for(source) == "parquet"
    assert importer_for(source.parent) == "parquet"
    shutil.copy(source, tmp_path / "no suffix")
    assert importer_for(tmp_path / "no suffix") == "parquet"
    assert importer_for(as_saved(named(hf), tmp_path)) == "saved-dataset"
    assert importer_for(tmp_path / "gone") == "folder"


def test_real_faces(hf: Any, data_dir: Path, tmp_path: Path) -> None:
    """Embedded JPEG files give the same faces as the folder importer."""
    names = ("Aaron_Peirsol", "Abdullah_Gul", "Ai_Sugiyama")
    for name in names:
        shutil.copytree(data_dir / "lfw112" / name, tmp_path / "images" / name)
    expected = import_faces(tmp_path / "images")
    dataset = hf.load_dataset("imagefolder", data_dir=str(tmp_path / "images"), split="train")
    for source in (as_parquet(dataset, tmp_path), as_saved(dataset, tmp_path)):
        faces = import_faces(source)
        assert faces.identities == names
        assert set(faces.digests()) == set(expected.digests())
        assert faces.counts().tolist() == expected.counts().tolist()
        assert set(faces.names) == set(expected.names)
