"""The recipes: who gets whom, counted; the same seed deals the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fedfr.config.schema import load_config
from fedfr.core.errors import FedfrError
from fedfr.faces import ClientFaces, FaceSet, Split, make_split

MakeFaces = Callable[[Sequence[int]], FaceSet]


def sizes(split: Any) -> dict[str, int]:
    return {part: len(images) for part, images in split.parts().items()}


def test_quickstart_on_orl(orl_faces: FaceSet) -> None:
    split = make_split(orl_faces, "quickstart")
    assert split.name == "quickstart"
    assert len(split.identities["public"]) == 16
    assert len(split.public) == 160
    assert list(split.clients) == ["client-01", "client-02", "client-03", "client-04"]
    for client, images in split.clients.items():
        assert len(split.identities[client]) == 4
        assert [index % 10 for index in images.train] == [0, 1, 2, 3, 4] * 4
        assert [index % 10 for index in images.test] == [5, 6, 7, 8, 9] * 4
    assert len(split.identities["generic"]) == 8
    assert split.distractors == ()
    used = [index for images in split.parts().values() for index in images]
    assert sorted(used) == list(range(400))
    assert split == make_split(orl_faces, "quickstart", seed=100)
    assert split.identities["public"] != make_split(orl_faces, "quickstart", seed=101).identities["public"]
    small = make_split(orl_faces, "quickstart", clients=2, public_identities=3, train_count=2, test_count=1)
    assert sizes(small)["client-02 train"] == 8
    assert sizes(small)["client-02 test"] == 4
    assert sizes(small)["public"] == 9
    assert small.settings["train_count"] == 2


def test_the_order_of_import_does_not_matter_only_names_do(make_faces: MakeFaces) -> None:
    faces = make_faces([4] * 12)
    names = [faces.identities[11 - label] for label in range(12)]
    turned = FaceSet(faces.images(range(48)), faces.labels, names)
    one, other = (
        make_split(each, "general", public_identities=3, clients=2, identities_per_client=2, seed=4)
        for each in (faces, turned)
    )
    assert {part: set(people) for part, people in one.identities.items()} == {
        part: set(people) for part, people in other.identities.items()
    }


def test_general_deals_as_documented(make_faces: MakeFaces) -> None:
    counts = [1, 2, 3, 4, 5, 10, 20, 1, 7, 2]
    faces = make_faces(counts)
    settings: dict[str, Any] = {"public_identities": 2, "clients": 2, "identities_per_client": 2}
    split = make_split(faces, "general", **settings, test_share=0.25, max_images=8, seed=9)
    order = sorted(faces.identities)
    random.Random(9).shuffle(order)
    eligible = [name for name in order if counts[faces.identities.index(name)] >= 2]
    assert set(split.identities["client-01"]) == set(eligible[:2])
    assert set(split.identities["client-02"]) == set(eligible[2:4])
    assert set(split.identities["public"]) == set(eligible[4:6])
    assert set(split.identities["generic"]) == set(order) - set(eligible[:6])
    for client in split.clients.values():
        for label in {int(faces.labels[index]) for index in client.train}:
            train = [index for index in client.train if faces.labels[index] == label]
            test = [index for index in client.test if faces.labels[index] == label]
            kept = min(counts[label], 8)
            assert train + test == faces.indices_of(label)[:kept].tolist()
            assert len(test) == {2: 1, 3: 1, 4: 1, 5: 1, 7: 2, 8: 2}[kept]
    assert split.distractors == (), "probes are the clients' test images alone"
    fewer = make_split(faces, "general", **settings, test_count=0, generic_identities=1, seed=9)
    assert len(fewer.identities["generic"]) == 1
    assert all(not client.test for client in fewer.clients.values())


@pytest.mark.parametrize("recipe", ["general", "quickstart"])
def test_unseen_people_are_distractors_where_asked_for(make_faces: MakeFaces, recipe: str) -> None:
    faces = make_faces([10] * 9)
    settings: dict[str, Any] = {"public_identities": 2, "clients": 2, "identities_per_client": 2}
    without = make_split(faces, recipe, **settings)
    asked = make_split(faces, recipe, **settings, distractors="generic")
    assert without.distractors == ()
    assert asked.distractors == asked.generic == without.generic
    assert len(asked.identities["distractors"]) == 3
    assert asked.settings["distractors"] == "generic"


def test_the_quickstart_keeps_its_strangers(orl_faces: FaceSet) -> None:
    """75 test images of other clients and 80 of people nobody trains on: 15.5 impostors at FPIR 0.1, not 7.5."""
    wanted = load_config("quickstart").split
    split = make_split(orl_faces, wanted.recipe, **wanted.settings)
    assert split.distractors == split.generic
    assert sum(len(client.test) for client in split.clients.values()) - 25 + len(split.distractors) == 155


def test_client_names_sort_whatever_their_number(make_faces: MakeFaces) -> None:
    faces = make_faces([2] * 101)
    split = make_split(faces, "general", public_identities=0, clients=101, identities_per_client=1)
    assert list(split.clients) == sorted(split.clients)
    assert next(iter(split.clients)) == "client-001"
    assert split.public == split.generic == ()


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("quickstrat", {}, "did you mean 'quickstart'"),
        ("quickstart", {"client": 2}, "has no setting 'client'; it has public_identities, clients"),
        (
            "general",
            {"clients": 2},
            "'general' needs the settings 'public_identities' and 'identities_per_client'; give them",
        ),
        ("general", {}, "needs the settings 'public_identities', 'clients' and 'identities_per_client'; give them"),
        ("sites", {}, "'sites' needs the setting 'clients'; give it"),
        ("quickstart", {"clients": 0}, "clients = 0; give a whole number of at least 1"),
        ("quickstart", {"clients": None}, "clients = None"),
        ("quickstart", {"clients": 2.0}, r"clients = 2\.0"),
        ("quickstart", {"test_count": -1}, "test_count = -1"),
        ("quickstart", {"seed": "x"}, "seed = 'x'"),
        ("quickstart", {}, "needs 32 identities with 10 or more images, these faces have 4"),
        (
            "quickstart",
            {"clients": 1, "public_identities": 0, "generic_identities": 3},
            "needs 3 identities for the gen",
        ),
        (
            "lfw-fed",
            {"clients": 3, "identities_per_client": [1, 2]},
            "2 numbers in identities_per_client for 3",
        ),
        ("lfw-fed", {"clients": 2, "identities_per_client": [1, 0]}, "identities_per_client = 0; give a whole number"),
        ("lfw-fed", {"clients": 1, "identities_per_client": "9"}, "identities_per_client = '9'; give a whole number"),
        ("lfw-fed", {"validation": 1}, "split setting validation = 1; give true or false"),
        ("lfw-fed", {}, "needs 150 identities with 10 or more images, these faces have 4"),
        ("lfw-fed", {"clients": 1, "identities_per_client": 1}, "needs 1000 identities with 2 to 9 images"),
        (
            "lfw-fed",
            {"clients": 1, "identities_per_client": 1, "public_identities": 0, "distractors": 5},
            "needs 5 identities with one image, these faces have 0",
        ),
    ],
)
def test_settings_that_cannot_be_met_are_one_clear_line(
    make_faces: MakeFaces, recipe: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(FedfrError, match=message) as caught:
        make_split(make_faces([10] * 4 + [3] * 2), recipe, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_share": 1.0}, r"test_share = 1\.0; give a share"),
        ({"test_share": "0.4"}, "test_share = '0.4'; give a share"),
        ({"test_share": 0.4, "test_count": 1}, "give only one"),
        ({"distractors": 3}, "distractors = 3; give none or generic"),
        ({"test_count": 2}, "test_count = 2 leaves no training images of 2 images"),
        ({"test_count": 2, "min_images": 4, "max_images": 2}, "leaves no training images of 2 images"),
    ],
)
def test_general_refuses_what_cannot_be(make_faces: MakeFaces, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        make_split(make_faces([4] * 4), "general", public_identities=1, clients=1, identities_per_client=1, **settings)


def test_a_copy_across_parts_stops_the_recipe(make_faces: MakeFaces) -> None:
    faces = make_faces([4] * 4)
    pixels = faces.images(range(16))
    pixels[3] = pixels[0]
    copied = FaceSet(pixels, faces.labels, faces.identities)
    with pytest.raises(FedfrError, match=r"the same image is 'p000#0' in client-0\d train and 'p000#3'"):
        make_split(copied, "general", public_identities=0, clients=2, identities_per_client=2)


@pytest.fixture(scope="module")
def lfw(data_dir: Path) -> FaceSet:
    """The real names and counts with windows of noise for pixels: nothing is decoded."""
    folders = sorted((folder for folder in (data_dir / "lfw112").iterdir()), key=lambda folder: folder.name)
    counts = [len(list(folder.iterdir())) for folder in folders]
    total = sum(counts)
    noise = np.random.default_rng(3).integers(0, 256, 112 * 112 * 3 + total, dtype=np.uint8)
    pixels = as_strided(noise, (total, 112, 112, 3), (1, 336, 3, 1), writeable=False)
    return FaceSet(pixels, np.repeat(np.arange(len(counts)), counts), [folder.name for folder in folders])


def test_lfw_fed_counts(lfw: FaceSet) -> None:
    counts = lfw.counts()
    assert (len(lfw), lfw.num_identities) == (13_233, 5_749)
    assert int((counts >= 10).sum()) == 158
    split = make_split(lfw, "lfw-fed")
    assert {part: len(people) for part, people in split.identities.items()} == {
        "public": 1000,
        "generic": 522 + 4069,
        "distractors": 4069,
        **{f"client-{number:02d}": 15 for number in range(1, 11)},
    }
    assert sizes(split)["public"] == 3206
    assert sizes(split)["generic"] == 5703
    assert set(split.distractors) < set(split.generic)
    private = [label for label in range(lfw.num_identities) if counts[label] >= 10]
    random.Random(100).shuffle(private)  # names are sorted already
    for number, (client, images) in enumerate(split.clients.items()):
        people = private[number * 15 : (number + 1) * 15]
        assert split.identities[client] == tuple(lfw.identities[label] for label in sorted(people))
        for label in people:
            kept = min(int(counts[label]), 30)
            mine = [[index for index in part if lfw.labels[index] == label] for part in (images.train, images.test)]
            assert mine[0] + mine[1] == lfw.indices_of(label)[:kept].tolist()
            assert len(mine[1]) == (4 * kept + 5) // 10
    left_over = {lfw.identities[label] for label in private[150:]}
    assert len(left_over) == 8
    assert not left_over & {name for people in split.identities.values() for name in people}


def test_lfw_fed_is_pinned(lfw: FaceSet) -> None:
    """These people are what every figure published for the benchmark rests on."""
    split = make_split(lfw, "lfw-fed")
    assert split.identities["client-01"][:4] == ("Ariel_Sharon", "Bill_Clinton", "Bill_Simon", "Joe_Lieberman")
    assert {client: (len(images.train), len(images.test)) for client, images in split.clients.items()} == {
        "client-01": (163, 109),
        "client-02": (149, 98),
        "client-03": (191, 127),
        "client-04": (167, 113),
        "client-05": (193, 129),
        "client-06": (151, 102),
        "client-07": (181, 121),
        "client-08": (146, 95),
        "client-09": (162, 107),
        "client-10": (170, 114),
    }


def test_lfw_fed_cut_down_is_a_prefix(lfw: FaceSet) -> None:
    whole = make_split(lfw, "lfw-fed")
    small = make_split(lfw, "lfw-fed", clients=2, public_identities=50, generic_identities=20, distractors=30)
    assert dict(small.clients) == {client: whole.clients[client] for client in ("client-01", "client-02")}
    assert set(small.public) < set(whole.public)
    assert set(small.generic) < set(whole.generic)
    assert len(small.identities["generic"]) == 50
    assert len(small.distractors) == 30
    assert small.settings["distractors"] == 30


def test_lfw_fed_for_validation_shows_nothing_that_is_tested_on(lfw: FaceSet) -> None:
    whole, chosen_on = make_split(lfw, "lfw-fed", seed=5), make_split(lfw, "lfw-fed", seed=5, validation=True)
    tested = {*whole.generic, *whole.distractors, *(index for faces in whole.clients.values() for index in faces.test)}
    assert not tested & {*chosen_on.public, *chosen_on.generic, *chosen_on.distractors}
    for client, faces in chosen_on.clients.items():
        assert sorted([*faces.train, *faces.test]) == sorted(whole.clients[client].train)
        assert chosen_on.identities[client] == whole.identities[client]
        assert 0.35 < len(faces.test) / len(whole.clients[client].train) < 0.45
    assert len(chosen_on.identities["generic"]) == 200
    assert sorted([*chosen_on.public, *chosen_on.generic]) == sorted(whole.public)
    assert chosen_on.settings["validation"] is True


@pytest.mark.parametrize("recipe", ["general", "lfw-fed", "quickstart"])
def test_clients_may_differ_in_size(recipe: str, lfw: FaceSet) -> None:
    needed = {"general": {"public_identities": 20, "min_images": 10}}.get(recipe, {})
    sizes = [1, 7, 2]
    split = make_split(lfw, recipe, clients=3, identities_per_client=sizes, **needed)
    same = make_split(lfw, recipe, clients=1, identities_per_client=10, **needed)
    assert [len(split.identities[client]) for client in sorted(split.clients)] == sizes
    (whole,) = same.clients.values()
    dealt = [image for client in sorted(split.clients) for image in split.clients[client].train]
    assert sorted(dealt) == sorted(whole.train), "the same people, dealt otherwise"


def test_sites_keep_their_faces_elsewhere(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([3] * 6)
    split = make_split(faces, "sites", clients=["south", "north"], generic_identities=2, distractors="generic", seed=1)
    assert sizes(split) == {
        "public": 12,
        "north train": 0,
        "north test": 0,
        "south train": 0,
        "south test": 0,
        "generic": 6,
        "distractors": 6,
    }
    assert list(split.clients) == ["north", "south"]
    assert split.distractors == split.generic
    split.save(tmp_path / "split.json")
    loaded = Split.load(tmp_path / "split.json")
    assert loaded == split
    assert all(client.elsewhere for client in loaded.clients.values())
    with pytest.raises(FedfrError, match="north of the split has its faces elsewhere, but also images here"):
        replace(split, public=(), clients={"north": ClientFaces((0,), (), elsewhere=True)}).check(faces)


@pytest.mark.parametrize("clients", [["a/b"], [""], [".hidden"], ["x" * 65], [3], "a b"])
def test_a_sites_id_is_a_plain_word(make_faces: MakeFaces, clients: Any) -> None:
    with pytest.raises(
        FedfrError,
        match=r"split setting clients: .* is not a valid client id .*; use letters, digits and the characters",
    ):
        make_split(make_faces([3] * 3), "sites", clients=clients)


@pytest.mark.parametrize("clients", [7, 0.5, None])
def test_sites_are_named_in_a_list(make_faces: MakeFaces, clients: Any) -> None:
    with pytest.raises(FedfrError, match=rf"split setting clients = {clients}; give the ids in a list, for example"):
        make_split(make_faces([3] * 3), "sites", clients=clients)


def test_dropping_copies_leaves_sites_elsewhere(make_faces: MakeFaces) -> None:
    split = make_split(make_faces([3] * 3), "sites", clients=["a"], generic_identities=1, duplicates="drop")
    assert split.clients["a"].elsewhere


@pytest.mark.parametrize("clients", [[], ["a", "a"]])
def test_sites_are_named_once(make_faces: MakeFaces, clients: list[str]) -> None:
    with pytest.raises(FedfrError, match="give one or more ids, each once"):
        make_split(make_faces([3] * 3), "sites", clients=clients)
