"""The paper's split, on a stand-in with few pixels, and its counts at full scale."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fedfr.config.schema import EvaluationConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.evaluation import PROTOCOLS
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.faces import FaceSet, Split, make_split

# 121 identities with every count about the borders; 18 may be private, 20 public, and so might the one in the middle.
COUNTS = random.Random(8).choices([1, 60, 61, 61, 70, 79, 79, 80, 100, 101, 101, 105, 109, 109, 110], k=121)
REDUCED = {"public_identities": 12, "clients": 3, "identities_per_client": 4}


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """Windows of noise; names in another order than labels, and one identity without images."""
    counts = [*COUNTS[:7], 0, *COUNTS[7:]]
    total = sum(counts)
    noise = np.random.default_rng(3).integers(0, 256, 112 * 112 * 3 + total, dtype=np.uint8)
    pixels = as_strided(noise, (total, 112, 112, 3), (1, 336, 3, 1), writeable=False)
    labels = np.repeat(np.arange(len(counts)), counts)
    return FaceSet(pixels, labels, [f"m.{1000 - label}" for label in range(len(counts))])


@pytest.fixture(scope="module", params=["paper", "released"])
def split(request: pytest.FixtureRequest, faces: FaceSet) -> Split:
    """Split of these faces as in a preset, with fewer clients and identities."""
    settings: dict[str, Any] = {**load_config(request.param).split.settings, **REDUCED}
    return make_split(faces, load_config(request.param).split.recipe, **settings)


def test_selection_and_order_of_identities(faces: FaceSet, split: Split) -> None:
    """Selection as in the authors' scripts: ids by label, halves, strict bounds."""
    counts = faces.counts()
    order = [label for label in range(faces.num_identities) if counts[label]]
    random.Random(100).shuffle(order)
    assert len(order) == 121
    private = [label for label in order[:60] if 110 > counts[label] > 100]
    public = [label for label in order[61:] if 80 > counts[label] > 60]
    assert len(private) > 12, "there is a choice"
    assert len(public) > 12
    for number, client in enumerate(split.clients.values()):
        mine = private[number * 4 : number * 4 + 4]
        assert set(faces.labels[list(client.train)]) == set(mine)
        for label in mine:
            images = faces.indices_of(label).tolist()
            assert [index for index in client.test if faces.labels[index] == label] == images[:40]
            train = [index for index in client.train if faces.labels[index] == label]
            assert train == images[40:]
            assert 61 <= len(train) <= 69
    assert list(split.clients) == ["client-01", "client-02", "client-03"]
    expected = sorted(index for label in public[:12] for index in faces.indices_of(label).tolist())
    assert list(split.public) == expected


def test_halves_are_disjoint_to_the_last_identity(faces: FaceSet) -> None:
    counts = faces.counts()
    order = [label for label in range(faces.num_identities) if counts[label]]
    random.Random(100).shuffle(order)
    assert 60 < counts[order[60]] < 80, "the middle one could be public, but lies in neither half"
    everybody = make_split(faces, "ms1m-fedfr", public_identities=20, clients=18, identities_per_client=1)
    private = {int(faces.labels[index]) for client in everybody.clients.values() for index in client.train}
    assert private == {label for label in order[:60] if 110 > counts[label] > 100}
    assert set(faces.labels[list(everybody.public)]) == {label for label in order[61:] if 80 > counts[label] > 60}


def test_no_other_identity_is_in_the_split(split: Split) -> None:
    assert split.generic == split.distractors == ()
    assert split.pairs == ()
    assert split.settings["private_max_images"] == 109
    assert set(split.identities) == {"public", *split.clients}


def test_some_of_the_others_may_be_generic(faces: FaceSet, split: Split) -> None:
    with_others = make_split(faces, "ms1m-fedfr", **REDUCED, generic_identities=5)
    assert (with_others.public, with_others.clients) == (split.public, split.clients)
    assert len(with_others.identities["generic"]) == 5
    assert with_others.distractors == ()


def test_counts_at_full_scale() -> None:
    """631 998 000 pairs per client, 78 000 of them genuine; 4 000 mated and 156 000 non-mated probes, gallery 100."""
    settings = load_config("paper").split.settings
    clients, each, images = (settings[name] for name in ("clients", "identities_per_client", "test_count"))
    labels = np.repeat(np.arange(clients * each), images)
    own = labels < each
    assert (len(labels), int(own.sum())) == (160_000, 4_000)
    pairs = OwnPairs(np.ones((len(labels), 1), np.float32), labels, own)
    assert (pairs.genuine, pairs.genuine + pairs.impostor) == (78_000, 631_998_000)
    angles = np.arange(each)
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    figures = PROTOCOLS["personalized-1:N"](
        features=gallery[labels % each],
        labels=labels,
        own=own,
        gallery_features=gallery,
        gallery_labels=angles,
        config=EvaluationConfig(fpirs=(0.1,)),
    )
    assert {(figure.genuine, figure.impostor) for figure in figures if "TPIR" in figure.name} == {(4_000, 156_000)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "needs 4000 identities with 101 to 109 images in the first half, these faces have 18; lower clients or"),
        ({**REDUCED, "public_identities": 60}, "needs 60 identities with 61 to 79 images in the second half"),
        ({**REDUCED, "generic_identities": 98}, "needs 98 identities for the generic part, these faces have 97"),
        ({"test_count": 101}, "test_count = 101 leaves no training images of 101 images"),
        ({"public_max_images": 60}, "public_max_images = 60; give a whole number of at least 61"),
        ({"private_min_images": 0}, "private_min_images = 0; give a whole number of at least 1"),
        ({"generic_identities": -1}, "generic_identities = -1"),
        ({"distractors": "generic"}, "has no setting 'distractors'"),
    ],
)
def test_settings_that_cannot_be_met(faces: FaceSet, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        make_split(faces, "ms1m-fedfr", **settings)
