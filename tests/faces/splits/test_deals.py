"""Disjoint deals of the recipes of benchmarks, on the names and counts of real faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.support.deals import DEALS, PINS, check_disjoint, deals_of, private_of

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split, make_split
from fedfr.faces.face_sets import NamedSet, combine

MakeFaces = Callable[[Sequence[int]], FaceSet]

LFW = {"clients": 7, "identities_per_client": 10, "min_images": 5, "public_identities": 757}


@pytest.fixture(scope="module")
def of_lfw(lfw: FaceSet) -> list[Split]:
    return deals_of(lfw, "lfw-fed", **LFW)


@pytest.fixture(scope="module")
def of_pins(lfw_and_pins: FaceSet) -> list[Split]:
    return deals_of(lfw_and_pins, "pins-fed", **PINS)


@pytest.mark.parametrize("recipe", ["lfw-fed", "pins-fed"])
def test_deals_share_public_identities_only(recipe: str, request: pytest.FixtureRequest) -> None:
    splits: list[Split] = request.getfixturevalue({"lfw-fed": "of_lfw", "pins-fed": "of_pins"}[recipe])
    private = [private_of(split) for split in splits]
    generic, single = ([set(split.identities[part]) for split in splits] for part in ("generic", "distractors"))
    for parts in (private, generic, single):
        check_disjoint(parts)
        assert len({len(part) for part in parts[:DEALS]}) == 1, "equal parts"
    public = {split.identities["public"] for split in splits}
    assert len(public) == 1, "the same in all"
    assert not set(*public) & set().union(*private, *generic)
    *_, chosen_on = splits
    used = private_of(chosen_on) | set(chosen_on.identities["generic"])
    assert not used & set().union(*private[:DEALS], *generic[:DEALS])


def test_parts_of_lfw(lfw: FaceSet, of_lfw: list[Split]) -> None:
    counts = dict(zip(lfw.identities, lfw.counts().tolist(), strict=True))
    for split in of_lfw:
        assert {part: len(people) for part, people in split.identities.items()} == {
            "public": 757,
            "generic": 83 + 678,
            "distractors": 678,
            **{f"client-{number:02d}": 10 for number in range(1, 8)},
        }
        assert min(counts[name] for name in private_of(split)) >= 5
        assert {counts[name] for name in split.identities["public"]} == {2, 3, 4}
        assert {counts[name] for name in split.identities["distractors"]} == {1}
        unseen = set(split.identities["generic"]) - set(split.identities["distractors"])
        assert {counts[name] for name in unseen} == {2, 3, 4}
        for client, own in split.clients.items():
            for name in split.identities[client]:
                images = lfw.indices_of(lfw.identities.index(name)).tolist()[:30]
                tested = (4 * len(images) + 5) // 10
                assert set(images[:-tested]) <= set(own.train)
                assert set(images[-tested:]) <= set(own.test)
            assert len(own.train) + len(own.test) == sum(min(counts[name], 30) for name in split.identities[client])
    assert not set().union(*map(private_of, of_lfw)) & set().union(*(split.identities["generic"] for split in of_lfw))


def test_parts_of_pins(lfw_and_pins: FaceSet, of_pins: list[Split]) -> None:
    *deals, chosen_on = of_pins
    assert [len(private_of(split)) for split in of_pins] == [14] * 6
    for number, split in enumerate(deals):
        generic = set(split.identities["generic"])
        known = {name for name in generic if name.startswith("pins/")}
        assert known == private_of(deals[(number + 1) % DEALS]), "those of the next deal are unseen in this one"
        assert len(generic - known) == len(chosen_on.identities["generic"])
        counts = lfw_and_pins.subset(split.generic).counts()
        assert max(counts) == 100, "nobody with hundreds of images outweighs the others"
        assert {(len(own.train), len(own.test)) for own in split.clients.values()} <= {
            (420, tested) for tested in range(1, 281)
        }
    assert all(name.startswith("lfw/") for name in chosen_on.identities["generic"])
    assert len(chosen_on.identities["public"]) == 800
    pins = lfw_and_pins.sets[1]
    assert (len(pins.left_out), len(lfw_and_pins.sets[0].left_out)) == (0, 14)


def test_a_smaller_split_has_the_first_of_its_parts(lfw: FaceSet, of_lfw: list[Split]) -> None:
    """Budgets with fewer clients or distractors keep their deals apart as well."""
    small = LFW | {"clients": 4, "distractors": 100, "generic_identities": 20}
    for split, whole in zip(deals_of(lfw, "lfw-fed", **small), of_lfw, strict=True):
        assert dict(split.clients) == {client: whole.clients[client] for client in list(whole.clients)[:4]}
        assert (len(split.identities["distractors"]), len(split.identities["generic"])) == (100, 120)
        assert set(split.identities["generic"]) < set(whole.identities["generic"])
        assert split.public == whole.public


def test_people_of_no_client_are_generic(lfw: FaceSet, of_lfw: list[Split]) -> None:
    unseen = LFW | {"clients": 4, "unseen_identities": 30}
    for split, whole in zip(deals_of(lfw, "lfw-fed", **unseen), of_lfw, strict=True):
        assert dict(split.clients) == {client: whole.clients[client] for client in list(whole.clients)[:4]}
        more = set(split.identities["generic"]) - set(whole.identities["generic"])
        assert more == private_of(whole) - private_of(split)
        genuine = []
        for part in (split, whole):
            counts = lfw.subset(part.generic).counts()
            assert max(counts) <= 30
            genuine.append(int((counts * (counts - 1) // 2).sum()))
        assert genuine[0] > 4 * genuine[1], "people with few images give few genuine pairs"


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("lfw-fed", {"seed": 2}, "seed = 2: there is no such deal with deals = 2; give a whole number from 0 to 1"),
        ("lfw-fed", {"seed": 2, "validation": True}, "seed = 2: there is no such deal with deals = 2"),
        ("lfw-fed", {"seed": -1}, "seed = -1: there is no such deal"),
        ("lfw-fed", {"deals": 1, "seed": 1}, "with deals = 1; give 0"),
        ("lfw-fed", {"deals": 0}, "deals = 0; give a whole number of at least 1"),
        ("lfw-fed", {"deals": True}, "deals = True; give a whole number of at least 1"),
        ("lfw-fed", {"deals": "5"}, "deals = '5'; give a whole number of at least 1"),
        ("lfw-fed", {"unseen_identities": -1}, "unseen_identities = -1; give a whole number of at least 0"),
        ("lfw-fed", {"unseen_identities": 9}, "lower clients, identities_per_client, unseen_identities or deals"),
        ("lfw-fed", {"min_images": 2}, "min_images = 2; give a whole number of at least 3"),
        (
            "lfw-fed",
            {"identities_per_client": 3},
            "needs 3 identities with 4 or more images in each of 3 equal parts (deals and validation), these faces",
        ),
        ("lfw-fed", {"identities_per_client": 3}, "lower clients, identities_per_client, unseen_identities or deals"),
        ("lfw-fed", {"generic_identities": 2}, "identities with 2 to 3 images that are not public in each of 3 equal"),
        ("lfw-fed", {"distractors": 2}, "needs 2 identities with one image in each of 3 equal parts"),
        ("lfw-fed", {"public_identities": 3}, "needs 1 identities with 2 to 3 images that are not public in each of 3"),
        ("lfw-fed", {"public_identities": 6}, "needs 6 identities with 2 to 3 images, these faces have 5"),
    ],
)
def test_what_cannot_be_dealt_is_one_clear_line(
    make_faces: MakeFaces, recipe: str, settings: dict[str, Any], message: str
) -> None:
    faces = make_faces([4] * 6 + [2] * 5 + [1] * 3)
    small = {"deals": 2, "clients": 1, "identities_per_client": 2, "min_images": 4, "public_identities": 2, "seed": 0}
    assert make_split(faces, recipe, **small).identities["client-01"]
    with pytest.raises(FedfrError) as caught:
        make_split(faces, recipe, **small | settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 5}, "seed = 5: there is no such deal with deals = 5; give a whole number from 0 to 4"),
        ({"deals": None, "validation": True}, "validation = true needs deals"),
        ({"validation": "yes"}, "validation = 'yes'; give true or false"),
        ({"clients": 3}, "needs 21 private identities with more than 60 images in each of 6 equal parts"),
        ({"deals": 7}, "needs 14 private identities with more than 60 images in each of 8 equal parts"),
        ({"distractors": 700}, "needs 700 public identities with one image in each of 6 equal parts"),
        ({"public_identities": 1664}, "identities of the public set that are not public in each of 6 equal parts"),
    ],
)
def test_what_pins_fed_cannot_deal(lfw_and_pins: FaceSet, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        make_split(lfw_and_pins, "pins-fed", **PINS | {"deals": DEALS, "seed": 0} | settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_generic_set_is_divided_too(lfw: FaceSet) -> None:
    """The identities of a third set differ between deals like all others."""
    private = lfw.subset(range(3000))
    own = {"clients": 1, "identities_per_client": 2, "train_count": 3, "public_identities": 0}
    sets = [
        NamedSet("a", "public", lfw.subset(range(4000, 6000))),
        NamedSet("b", "private", private),
        NamedSet("c", "generic", lfw.subset(range(7000, 7100))),
    ]
    whole = combine(sets, overlap="keep")
    unseen = [
        {name for name in split.identities["generic"] if name.startswith("c/")}
        for split in deals_of(whole, "pins-fed", **own)
    ]
    check_disjoint(unseen)


def test_pairs_are_of_people_whom_neither_the_deal_nor_validation_uses(lfw: FaceSet) -> None:
    listed = tuple((image, image + step) for image in range(0, len(lfw) - 3, 4) for step in (1, 3))

    def pairs_of(people: set[str], *, wanted: bool) -> tuple[tuple[int, int], ...]:
        chosen = [label for label, name in enumerate(lfw.identities) if (name in people) is wanted]
        return tuple(pair for pair in listed if {*chosen} >= {*lfw.labels[list(pair)].tolist()})

    *deals, chosen_on = deals_of(lfw, "lfw-fed", **LFW, pairs=listed)
    own = private_of(chosen_on) | set(chosen_on.identities["generic"])
    assert chosen_on.pairs == pairs_of(set(chosen_on.identities["generic"]), wanted=True) != ()
    # Also the identities of the part that the split does not use.
    *_, whole = deals_of(lfw, "lfw-fed", **{**LFW, "clients": 70, "identities_per_client": 1}, pairs=listed)
    for split in deals:
        trained = private_of(split) | set(split.identities["public"])
        assert split.pairs == pairs_of(trained | own | private_of(whole), wanted=False)
        assert len(split.pairs) > 10 * len(pairs_of(set(split.identities["generic"]), wanted=True))


def test_fewer_training_images_leave_people_and_test_images_as_they_are(
    lfw_and_pins: FaceSet, of_pins: list[Split]
) -> None:
    for split, whole in zip(deals_of(lfw_and_pins, "pins-fed", **PINS, train_images=5), of_pins, strict=True):
        assert (split.public, split.generic, split.distractors) == (whole.public, whole.generic, whole.distractors)
        assert {client: own.test for client, own in split.clients.items()} == {
            client: own.test for client, own in whole.clients.items()
        }
        for client, own in split.clients.items():
            assert len(own.train) == 7 * 5
            by_person = [list(whole.clients[client].train)[60 * place :][:5] for place in range(7)]
            assert list(own.train) == [image for images in by_person for image in images]


def test_public_people_of_the_private_set_or_of_another(lfw_and_pins: FaceSet) -> None:
    """The same private and unseen people, and equally many public images, whichever set the public ones are from."""
    given = {**PINS, "deals": 3, "public_identities": 22, "public_images": 25, "set_aside": 22}
    for number in range(3):
        other, same = (
            make_split(lfw_and_pins, "pins-fed", **given, seed=number, public_from=source)
            for source in ("public", "private")
        )
        assert (same.clients, same.generic, same.distractors) == (other.clients, other.generic, other.distractors)
        assert len(same.public) == len(other.public) == 22 * 25
        assert all(name.startswith("lfw/") for name in other.identities["public"])
        assert all(name.startswith("pins/") for name in same.identities["public"])
        assert len(same.identities["public"]) == 22


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_images": 61}, "train_images = 61; give at most train_count = 60"),
        ({"train_images": 0}, "train_images = 0; give a whole number of at least 1"),
        ({"public_images": 1}, "public_images = 1; give a whole number of at least 2"),
        ({"public_from": "both"}, "public_from = 'both'; give public or private"),
        ({"public_from": "private"}, "public_from = 'private' takes the public identities .*; give .* set_aside"),
        ({"set_aside": 3}, "set_aside = 3 is for splits with deals; give deals as well"),
        (
            {"set_aside": 3, "deals": 1, "public_from": "private", "public_identities": 4},
            "needs 4 private identities in no deal, these faces have 3; lower public_identities",
        ),
        (
            {"public_images": 500, "public_identities": 2},
            "needs 2 public identities with 500 or more images, these faces have 1; lower public_identities",
        ),
    ],
)
def test_settings_of_comparisons_are_checked(lfw_and_pins: FaceSet, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        make_split(lfw_and_pins, "pins-fed", **settings)
