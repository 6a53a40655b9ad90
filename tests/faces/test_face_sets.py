"""Several face sets as one: what is joined, how indices translate, and people who are in two of them."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.faces import IMPORTERS, FaceSet, Split, export_faces, import_faces, import_folder, make_split
from fedfr.faces.face_sets import NamedSet, combine, combined_indices, read_identities, with_original_names
from fedfr.faces.writers.recordio import write_recordio_file

SETTINGS = {"public_identities": 3, "clients": 2, "identities_per_client": 2, "test_count": 1}


def people(prefix: str, identities: int = 4, images: int = 3, seed: int = 0) -> FaceSet:
    faces = tiny_faces(identities, images, seed)
    return faces.renamed([f"{prefix}{number}" for number in range(identities)], faces.names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three saved sets of different people: public, private, generic."""
    for seed, (name, identities) in enumerate({"public": 4, "private": 5, "generic": 2}.items()):
        people(name[:2], identities, 3, seed).save(tmp_path / name)
    return tmp_path


def named(folder: Path, *names: str) -> list[NamedSet]:
    return [NamedSet(name, name, FaceSet.load(folder / name)) for name in names]


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


def test_an_image_in_two_sets_is_refused_whatever_its_name(folder: Path) -> None:
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


def test_three_sets_and_who_is_left_out(folder: Path) -> None:
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


def test_the_manifest_says_which_set(folder: Path) -> None:
    whole = combine(named(folder, "public", "private", "generic"), folder / "whole")
    split = make_split(whole, "general", **SETTINGS)
    split.save(folder / "split.json")
    content = json.loads((folder / "split.json").read_text())
    assert content["sets"][1] == {
        "name": "private",
        "role": "private",
        "fingerprint": FaceSet.load(folder / "private").fingerprint(),
        "identities": 5,
        "images": "12-26",
        "left_out": {},
    }
    assert all(name.startswith("public/") for name in content["public"]["identities"])
    assert all(name.startswith("generic/") for name in content["generic"]["identities"])
    assert Split.load(folder / "split.json") == split
    del content["sets"]
    (folder / "split.json").write_text(json.dumps(content))
    Split.load(folder / "split.json").check(whole)


def test_a_manifest_of_one_set_is_as_before(folder: Path) -> None:
    split = make_split(FaceSet.load(folder / "private"), "general", **SETTINGS | {"public_identities": 1})
    split.save(folder / "split.json")
    assert "sets" not in json.loads((folder / "split.json").read_text())


def test_another_set_is_refused_by_name(folder: Path) -> None:
    whole = combine(named(folder, "public", "private"), folder / "whole")
    split = make_split(whole, "general", **SETTINGS)
    other = combine([*named(folder, "public"), NamedSet("private", "private", people("pr", 5, 3, 9))])
    with pytest.raises(FedfrError, match=r"made for a face set 'private' with fingerprint \w{12}, this one has \w{12}"):
        split.check(other)
    with pytest.raises(FedfrError, match=r"made for the face sets public, private, these are public, north"):
        split.check(combine([*named(folder, "public"), NamedSet("north", "private", people("pr", 5, 3, 9))]))
    (folder / "private").rename(folder / "before")
    people("pr", 5, 3, 9).save(folder / "private")
    with pytest.raises(FedfrError, match=r"face set 'private' in .* has other faces than before"):
        FaceSet.load(folder / "whole")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("private/pixels.npy", 1000, "face set 'private': .*pixels.npy is truncated"),
        ("private/columns.dat", 10, "face set 'private': .*columns.dat has 10 bytes"),
        ("private/faces.json", None, "face set 'private' is not in .*private; restore it, or set its"),
        ("whole/sets.json", 40, r"sets.json is not valid JSON|sets.json"),
        ("whole/sets.json", None, "sets.json"),
    ],
)
def test_damaged_sets_are_named(folder: Path, file: str, content: int | None, message: str) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    path = folder / file
    kept = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(kept[:content])
    with pytest.raises(FedfrError, match=message) as caught:
        FaceSet.load(folder / "whole")
    assert "\n" not in str(caught.value)


def test_images_of_another_shape_are_refused_with_the_name_of_their_set(folder: Path) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    np.save(folder / "private" / "pixels.npy", np.zeros((15, 96, 112, 3), np.uint8))
    with pytest.raises(FedfrError, match=r"face set 'private': .* holds uint8 \(15, 96, 112, 3\), expected"):
        FaceSet.load(folder / "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sets": [{"name": "public"}]}, "has a missing or invalid entry"),
        ({"sets": 3}, "has a missing or invalid entry"),
        ({"version": 2}, "does not list face sets"),
        ({"format": "x"}, "does not list face sets"),
    ],
)
def test_garbled_lists_of_sets(folder: Path, change: dict[str, object], message: str) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    path = folder / "whole" / "sets.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FedfrError, match=message):
        FaceSet.load(folder / "whole")


def test_a_set_that_was_moved_is_found_where_the_links_say(folder: Path, tmp_path: Path) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    (folder / "private").rename(tmp_path / "moved")
    with pytest.raises(FedfrError, match=r"face set 'private' is not in .*; restore it, or set its"):
        FaceSet.load(folder / "whole")
    links = folder / "whole" / "sets.json"
    content = json.loads(links.read_text())
    content["sets"][1]["folder"] = str(tmp_path / "moved")
    links.write_text(json.dumps(content))
    assert len(FaceSet.load(folder / "whole")) == 27


def test_a_whole_moves_with_the_sets_beside_it(folder: Path) -> None:
    combine(named(folder, "public", "private"), folder / "whole")
    moved = folder.with_name("moved")
    folder.rename(moved)
    assert len(FaceSet.load(moved / "whole")) == 27


def test_sets_that_cannot_be_joined(folder: Path) -> None:
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


def test_identities_that_an_exclude_file_names_in_vain(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (private,) = named(folder, "private")
    whole = combine([replace(private, left_out={"pr0": "list", "x": "list", "y": "list"})])
    assert whole.sets[0].left_out == {"pr0": "list"}
    assert "2 of the 3 identities in the exclude file of face set 'private' are not in that set" in caplog.text


def test_names_in_an_exclude_file(tmp_path: Path) -> None:
    path = tmp_path / "list.tsv"
    path.write_bytes("\ufeff# people of both\np006\tSomebody\n\n p008 \np006\n".encode())
    assert read_identities(path) == ("p006", "p008")
    for content, message in ((b"# nobody\n", "names no identity"), (b"\xff\xfe", "is not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(FedfrError, match=message):
            read_identities(path)
    with pytest.raises(FedfrError, match=r"does not exist"):
        read_identities(tmp_path / "none")


def test_no_part_gets_faces_of_another_role(folder: Path) -> None:
    whole = combine(named(folder, "public", "private", "generic"))
    split = make_split(whole, "general", **SETTINGS)
    wrong = replace(split, public=[*split.public, *split.clients["client-01"].train], clients={})
    with pytest.raises(FedfrError, match=r"public of the split has 4 images of the private face set 'private'"):
        wrong.check(whole)
    with pytest.raises(FedfrError, match=r"client-00 of the split has .* images of the public face set"):
        make_split(whole, "partition", partition=[0] * 6 + [None] * 27, public_identities=1)
    with pytest.raises(FedfrError, match=r"needs 6 private identities .* these faces have 5"):
        make_split(whole, "general", **SETTINGS | {"identities_per_client": 3})
    with pytest.raises(FedfrError, match=r"needs 5 public identities .* these faces have 4"):
        make_split(whole, "general", **SETTINGS | {"public_identities": 5})


def test_a_client_for_each_private_set(folder: Path) -> None:
    sets = [*named(folder, "public", "generic"), NamedSet("north", "private", FaceSet.load(folder / "private"))]
    whole = combine([*sets, NamedSet("south", "private", people("s", 3, 4, 7))])
    split = make_split(whole, "sets", distractors="generic")
    assert {name: whole.identities_of(own.all()) for name, own in split.clients.items()} == {
        "north": tuple(f"north/pr{number}" for number in range(5)),
        "south": tuple(f"south/s{number}" for number in range(3)),
    }
    assert (len(split.public), len(split.generic), len(split.distractors)) == (12, 6, 6)
    fewer = make_split(whole, "sets", public_identities=2, generic_identities=1)
    assert (len(fewer.public), len(fewer.generic), len(fewer.distractors)) == (6, 3, 0)
    sites = make_split(whole, "sites", clients=["a", "b"], generic_identities=1)
    assert whole.identities_of(sites.generic)[1:] == ("generic/ge0", "generic/ge1")
    assert {whole.sets[number].name for number in whole.locate(sites.public)[0]} == {"public"}
    with pytest.raises(FedfrError, match=r"split 'sets' needs a private face set; give faces.private"):
        make_split(FaceSet.load(folder / "public"), "sets")


def test_deals_of_pins_fed_share_nobody(folder: Path) -> None:
    public = FaceSet.load(folder / "public")
    few = public.subset([0, 1, 2, 3, 4, 6, 9])
    private = NamedSet("pins", "private", people("p", 7, 5, 5))
    whole = combine([NamedSet("lfw", "public", few), private])
    settings = {"clients": 1, "identities_per_client": 2, "train_count": 3, "test_count": 1}
    deals = [make_split(whole, "pins-fed", seed=seed, **settings) for seed in range(4)]
    own = [whole.identities_of(deal.clients["client-01"].all()) for deal in deals]
    assert len({*own[0], *own[1], *own[2]}) == 6
    assert len({*own[2], *own[3]} - {*own[0], *own[1]}) == 3
    (first, *_) = deals
    assert (len(first.clients["client-01"].train), len(first.clients["client-01"].test)) == (6, 2)
    assert whole.identities_of(first.public) == ("lfw/pu0", "lfw/pu1")
    assert whole.identities_of(first.distractors) == ("lfw/pu2", "lfw/pu3")
    assert len(first.generic) == 2 + 5 * 4
    with pytest.raises(FedfrError, match=r"private identities with more than 60 images"):
        make_split(whole, "pins-fed")
