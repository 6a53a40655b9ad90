"""The recipe lfw-fed on the names and counts of LFW."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, make_split


def sizes(split: Any) -> dict[str, int]:
    return {part: len(images) for part, images in split.parts().items()}


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


def test_max_images_limits_clients_and_unseen_people(lfw: FaceSet) -> None:
    limited = {"deals": 5, "min_images": 5, "max_images": 12, "clients": 4, "identities_per_client": 10}
    split = make_split(lfw, "lfw-fed", **limited, public_identities=757, unseen_identities=30, seed=0)
    for images in (*({*client.train, *client.test} for client in split.clients.values()), {*split.generic}):
        assert int(np.bincount(lfw.labels[[*images]]).max()) == 12
    with pytest.raises(FedfrError, match="max_images = 4; give a whole number of at least 5"):
        make_split(lfw, "lfw-fed", **{**limited, "max_images": 4}, seed=0)


def test_lfw_fed_is_pinned(lfw: FaceSet) -> None:
    """The published results of the benchmark depend on exactly these identities."""
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


def test_a_smaller_lfw_fed_is_a_prefix(lfw: FaceSet) -> None:
    whole = make_split(lfw, "lfw-fed")
    small = make_split(lfw, "lfw-fed", clients=2, public_identities=50, generic_identities=20, distractors=30)
    assert dict(small.clients) == {client: whole.clients[client] for client in ("client-01", "client-02")}
    assert set(small.public) < set(whole.public)
    assert set(small.generic) < set(whole.generic)
    assert len(small.identities["generic"]) == 50
    assert len(small.distractors) == 30
    assert small.settings["distractors"] == 30


def test_validation_of_lfw_fed_uses_no_tested_image(lfw: FaceSet) -> None:
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
