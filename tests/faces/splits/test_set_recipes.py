"""Splits of several face sets: recipes, roles and manifests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.joined_sets import SETTINGS, named, people

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split, make_split
from fedfr.faces.face_sets import NamedSet, combine


def test_the_manifest_names_the_sets(folder: Path) -> None:
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


def test_a_manifest_of_one_set_names_no_sets(folder: Path) -> None:
    split = make_split(FaceSet.load(folder / "private"), "general", **SETTINGS | {"public_identities": 1})
    split.save(folder / "split.json")
    assert "sets" not in json.loads((folder / "split.json").read_text())


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


def test_deals_of_pins_fed_share_no_identity(folder: Path) -> None:
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
