"""Combined face sets: joining, conversion of indices, identities in two sets."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.joined_sets import SETTINGS, named, people

from fedfr.core.errors import FedfrError
from fedfr.faces import IMPORTERS, FaceSet, export_faces, import_faces, import_folder, make_split
from fedfr.faces.face_sets import NamedSet, combine, combined_indices, with_original_names
from fedfr.faces.identity_lists import read_identities
from fedfr.faces.writers.recordio import write_recordio_file


def test_sets_are_joined_by_role_and_nothing_is_copied(folder: Path) -> None:
    sets = named(folder, "generic", "private", "public")
    whole = combine(sets, folder / "whole")
    assert [(part.name, part.start, part.images) for part in whole.sets] == [
        *(("public", 0, 12), ("private", 12, 15), ("generic", 27, 6))
    ]
    assert whole.identities[:1] + whole.identities[4:5] == ("public/pu0", "private/pr0")
    assert whole.names[12] == "private/person-00#0"
    private = FaceSet.load(folder / "private")
    assert np.array_equal(whole.images(range(12, 27)), private.images(range(15)))
    assert np.array_equal(whole.images([26, 0, 12]), np.stack([whole.images([row])[0] for row in (26, 0, 12)]))
    assert whole.digests()[12:27] == private.digests()
    assert {file.name for file in (folder / "whole").iterdir()} == {
        *("faces.json", "columns.dat", "digests.npy", "sets.json")
    }
    in_memory = combine(sets)
    assert in_memory.fingerprint() == whole.fingerprint()
    assert pickle.loads(pickle.dumps(whole.subset([13, 30]))).identities == ("private/pr0", "generic/ge1")
    assert len(pickle.dumps(whole)) < 2000


def test_indices_translate_both_ways(folder: Path) -> None:
    sets = [replace(each, left_out={"pr1": "x"} if each.name == "private" else {}) for each in named(folder, "private")]
    whole = combine([*sets, *named(folder, "public", "generic")], folder / "whole")
    which, own = whole.locate(range(len(whole)))
    assert which.tolist() == [0] * 12 + [1] * 12 + [2] * 6
    assert own[12:18].tolist() == [0, 1, 2, 6, 7, 8]
    for number, each in enumerate(whole.sets):
        assert (
            combined_indices(whole, each.name, own[which == number]).tolist()
            == np.flatnonzero(which == number).tolist()
        )
    part = whole.subset([20, 14])
    assert [found.tolist() for found in part.locate([0, 1])] == [[1, 1], [11, 2]]
    assert combined_indices(part, "private", [2, 11]).tolist() == [1, 0]
    with pytest.raises(FedfrError, match=r"some of the given images of face set 'private'"):
        combined_indices(whole, "private", [3])
    with pytest.raises(FedfrError, match=r"these faces have no face set 'north'; they have public, private, generic"):
        combined_indices(whole, "north", [0])
    assert with_original_names(part).identities == ("pr0", "pr3")
    assert with_original_names(whole) is whole


@pytest.mark.parametrize(
    ("other", "reason"),
    [("pu1", "same name as 'pu1'"), ("PU1", "same name as 'pu1'"), ("\u0440u1", "same name as 'pu1'")],
)
def test_a_name_in_two_sets_is_refused(folder: Path, other: str, reason: str) -> None:
    private = people("pr", 4, 3, 1).renamed(["a", "b", other, "c"], [str(number) for number in range(12)])
    sets = [*named(folder, "public"), NamedSet("north", "private", private)]
    with pytest.raises(FedfrError, match=rf"1 identity is in more than one face set: .* of north \({reason}") as caught:
        combine(sets)
    assert "exclude" in str(caught.value)
    assert "\n" not in str(caught.value)
    whole = combine(sets, overlap="drop")
    assert whole.sets[1].left_out == {other: "same name as public/pu1"}
    assert (len(whole), whole.num_identities) == (21, 7)
    assert len(combine(sets, overlap="distinct")) == 24
    assert len(combine([sets[0], replace(sets[1], left_out={other: "list"})])) == 21


def test_an_image_in_two_sets_is_refused_under_any_name(folder: Path) -> None:
    public = FaceSet.load(folder / "public")
    pixels = people("pr", 3, 3, 1).images(range(9))
    pixels[4] = public.images([7])[0]
    north = NamedSet("north", "private", FaceSet(pixels, np.repeat(np.arange(3), 3), ["a", "b", "c"]))
    sets = [*named(folder, "public"), north]
    for overlap in ("refuse", "distinct"):
        with pytest.raises(FedfrError, match=r"'b' of north \(same image as in 'pu2' of public\)"):
            combine(sets, overlap=overlap)
    whole = combine(sets, overlap="drop")
    assert whole.sets[1].left_out == {"b": "same image as in public/pu2"}
    assert [identity for identity in whole.identities if identity.startswith("north")] == ["north/a", "north/c"]


def test_people_found_by_a_model_are_refused(folder: Path) -> None:
    def same(faces: FaceSet) -> list[tuple[int, int]]:
        return [(faces.identities.index("private/pr2"), faces.identities.index("public/pu0")), (0, 1)]

    sets = named(folder, "public", "private")
    with pytest.raises(FedfrError, match=r"1 identity .* 'pr2' of private \(looks like 'pu0' of public\)"):
        combine(sets, same_people=same)
    assert combine(sets, same_people=same, overlap="drop").sets[1].left_out == {"pr2": "looks like public/pu0"}


def test_identities_omitted_from_three_sets(folder: Path) -> None:
    """A chain: the private person is the public one, the generic person has an image of the private one."""
    private = people("x", 3, 3, 1).renamed(["pu0", "b", "c"], [""] * 9)
    pixels = people("g", 2, 3, 2).images(range(6))
    pixels[5] = private.images([0])[0]
    generic = FaceSet(pixels, [0] * 3 + [1] * 3, ["g", "h"])
    sets = [*named(folder, "public"), NamedSet("private", "private", private), NamedSet("generic", "generic", generic)]
    with pytest.raises(FedfrError, match=r"2 identities are in more than one face set"):
        combine(sets)
    assert [dict(part.left_out) for part in combine(sets, overlap="drop").sets] == [
        *({}, {"pu0": "same name as public/pu0"}, {"h": "same image as in private/pu0"})
    ]


# Importers of faces that are not fixed, and that no library has to write.
PARTS = [name for name in IMPORTERS.builtin if name not in ("orl", "saved-dataset")]


@pytest.mark.parametrize("kind", [*PARTS, "npy", "rec as it lies"])
def test_every_kind_of_reader_is_a_part(folder: Path, tmp_path: Path, kind: str) -> None:
    private = FaceSet.load(folder / "private")
    source = tmp_path / kind
    if kind == "folder":
        for index, image in enumerate(private.images(range(len(private)))):
            place = source / private.identities[int(private.labels[index])] / f"{index:03d}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), image[:, :, ::-1])
        part = import_folder(source, tmp_path / "imported")
    elif kind in ("imagefolder", "parquet"):
        export_faces(private, source, kind)
        part = import_faces(source, tmp_path / "imported")
    elif kind == "npy":
        part = private
    else:
        assert "rec" in kind, "a new importer: write faces that it can read"
        source.mkdir()
        write_recordio(private, source / "train.rec")
        linked = None if kind == "rec as it lies" else tmp_path / "imported"
        part = import_faces(source / "train.rec", linked)
    sets = [*named(folder, "public"), NamedSet("private", "private", part)]
    whole = combine(sets, None if kind == "rec as it lies" else tmp_path / "whole")
    assert np.array_equal(whole.images([14, 1]), np.stack([private.images([2])[0], whole.images([1])[0]]))
    assert (whole.encoded(14) is None) == ("rec" not in kind)
    split = make_split(whole, "general", **SETTINGS)
    split.check(whole)
    assert {part.name for part in split.sets} == {"public", "private"}


def write_recordio(faces: FaceSet, path: Path) -> None:
    encoded = (cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in faces.images(range(len(faces))))
    write_recordio_file(path, zip(faces.labels.tolist(), encoded, strict=True), faces.num_identities)


def test_incompatible_sets_are_refused(folder: Path) -> None:
    public, private = named(folder, "public", "private")
    whole = combine([public, private], folder / "whole")
    empty = FaceSet(np.zeros((0, 112, 112, 3), np.uint8), [], [])
    for sets, message in (
        ([public, NamedSet("north", "private", whole)], "'north' is combined from several"),
        ([public, NamedSet("north", "private", empty)], "'north' has no images"),
        ([replace(public, name="lfw"), replace(private, name="LFW")], "two face sets are called 'LFW'"),
        ([public, replace(public, name="other")], "two face sets are public"),
        ([public, replace(private, name="../x")], "'../x' is not a valid name for a face set; use letters"),
        ([replace(private, name="generic")], "the private face set cannot be called 'generic', the name of another"),
        ([public, replace(public, name="north", role="private")], "'public' and 'north' hold the same faces; give"),
        ([replace(private, left_out={"nobody": "list"})], "names no identity of it, but 'nobody'"),
        (
            [replace(private, left_out=dict.fromkeys(private.faces.identities, ""))],
            "has no identities left; 5 are left",
        ),
        ([], "no face set is given"),
    ):
        with pytest.raises(FedfrError, match=message):
            combine(sets)
    with pytest.raises(FedfrError, match=r"'private' is in memory only"):
        combine([public, replace(private, faces=people("q", seed=5))], folder / "other")
    with pytest.raises(FedfrError, match=r"already holds files"):
        combine([public, private], folder / "whole")


def test_exclude_files_divide_one_set(folder: Path) -> None:
    private = FaceSet.load(folder / "private")
    north, south = ({f"pr{number}": "list" for number in numbers} for numbers in ((0, 1), (2, 3, 4)))
    whole = combine([NamedSet("north", "private", private, north), NamedSet("south", "private", private, south)])
    assert [part.identities for part in whole.sets] == [3, 2]
    assert np.array_equal(whole.images([9]), private.images([0]))


def test_unknown_names_in_an_exclude_file_are_refused(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (private,) = named(folder, "private")
    whole = combine([replace(private, left_out={"pr0": "list", "x": "list", "y": "list"})])
    assert whole.sets[0].left_out == {"pr0": "list"}
    assert "2 of the 3 identities in the exclude file of face set 'private' are not in that set" in caplog.text


def test_names_in_an_exclude_file(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_bytes("\ufeff# people of both\np006\tSomebody\n\n p008 \np006\n".encode())
    assert read_identities(path) == ("p006", "p008")
    path.write_text("p006\tAnn\tx\np007\np008\t\np009\tBob\nCarl\tAnn\n")
    for known, names in (
        (["Ann", "p008"], ("p006", "p007", "p008", "p009", "Carl")),
        (["Dan", "Bob"], ("Ann", "Bob")),
        (["x"], ("x",)),
        (["Dan"], ("p006", "p007", "p008", "p009", "Carl")),
    ):
        assert read_identities(path, known) == names, known
    for content, message in ((b"# nobody\n", "names no identity"), (b"\xff\xfe", "is not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(FedfrError, match=message):
            read_identities(path)
    with pytest.raises(FedfrError, match=r"does not exist"):
        read_identities(tmp_path / "none")
