"""The recipes general and quickstart, and settings that all recipes share."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fedfr.config.schema import load_config
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, make_split

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


def test_splits_depend_on_names_and_not_on_the_order_of_import(make_faces: MakeFaces) -> None:
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


@pytest.mark.parametrize(("preset", "probes"), [("quickstart", 20 + 240), ("orl", 75 + 80)])
def test_presets_of_orl_have_enough_non_mated_probes(orl_faces: FaceSet, preset: str, probes: int) -> None:
    """At least ten are expected above the threshold at FPIR 0.1 only with the distractors."""
    wanted = load_config(preset).split
    split = make_split(orl_faces, wanted.recipe, **wanted.settings)
    _first, *others = split.clients.values()
    assert split.distractors == split.generic
    assert sum(len(client.test) for client in others) + len(split.distractors) == probes


@pytest.mark.parametrize("recipe", ["general", "quickstart"])
def test_deals_are_disjoint_in_private_people(make_faces: MakeFaces, recipe: str) -> None:
    settings: dict[str, Any] = {"public_identities": 2, "clients": 2, "identities_per_client": 2, "deals": 3}
    faces = make_faces([10] * 13)
    splits = [make_split(faces, recipe, **settings, seed=seed) for seed in range(6)]
    private = [{name for client in split.clients for name in split.identities[client]} for split in splits]
    assert [len(people) for people in private] == [4] * 6
    assert len(set.union(*private[:3])) == len(set.union(*private[3:])) == 12
    assert private[:3] != private[3:], "the next deals are of another shuffle"
    for split, people in zip(splits, private, strict=True):
        assert len(split.identities["public"]) == 2
        assert len(people | {*split.identities["public"], *split.identities["generic"]}) == 13
    assert splits[0].settings["deals"] == 3
    without = make_split(faces, recipe, **{**settings, "deals": None}, seed=0)
    assert without.parts() == splits[0].parts(), "the first deal is the split without deals"
    with pytest.raises(FedfrError, match=r"needs 16 private identities with .* have 13; lower deals, clients"):
        make_split(faces, recipe, **{**settings, "deals": 4})
    with pytest.raises(FedfrError, match="deals = 0; give a whole number of at least 1"):
        make_split(faces, recipe, **{**settings, "deals": 0})


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
def test_invalid_settings_are_refused(make_faces: MakeFaces, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        make_split(make_faces([4] * 4), "general", public_identities=1, clients=1, identities_per_client=1, **settings)


def test_a_copy_in_two_parts_is_refused(make_faces: MakeFaces) -> None:
    faces = make_faces([4] * 4)
    pixels = faces.images(range(16))
    pixels[3] = pixels[0]
    copied = FaceSet(pixels, faces.labels, faces.identities)
    with pytest.raises(FedfrError, match=r"the same image is 'p000#0' in client-0\d train and 'p000#3'"):
        make_split(copied, "general", public_identities=0, clients=2, identities_per_client=2)


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
