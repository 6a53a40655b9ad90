"""Outcomes by person: their sum is the metric, and their influence gives its sampling error over people."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.evaluation import (
    gallery_rows,
    gallery_templates,
    identify,
    open_set_identification,
    personalized_verification,
    verify_pairs,
)
from fedfr.evaluation.person_outcomes import (
    PersonOutcomes,
    identification_outcomes,
    pair_outcomes,
    verification_outcomes,
)

RATES = [0.1, 0.01]
FPIRS = [0.3, 0.1]


def faces(seed: int, people: int = 60, images: int = 4) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people) * 3, images)
    centres = generator.normal(size=(people, 12))
    return centres[labels // 3] + generator.normal(0, 0.9, (len(labels), 12)), labels


def verification(seed: int) -> list[PersonOutcomes]:
    features, labels = faces(seed)
    own = labels < 60
    metrics = personalized_verification(features, labels, own, RATES)
    return verification_outcomes(features, labels, own, metrics, RATES)


def identification(seed: int) -> list[PersonOutcomes]:
    features, labels = faces(seed)
    enrolled = (labels < 90) & (np.arange(len(labels)) % 4 < 2)
    templates, identities = gallery_templates(features[enrolled], labels[enrolled])
    probes, of = features[~enrolled], labels[~enrolled]
    rows = gallery_rows(of, identities)
    metrics = open_set_identification(templates, probes, rows, FPIRS)[:2]
    return identification_outcomes(templates, probes, rows, of, metrics, FPIRS)


def listed_pairs(seed: int) -> list[PersonOutcomes]:
    """All genuine pairs, and as a published list has them, some impostor pairs of everybody."""
    features, labels = faces(seed)
    images, step = np.arange(len(labels)), np.random.default_rng(seed + 1000).integers(4, 236, (10, 1))
    genuine = [(a, a + distance) for distance in (1, 2, 3) for a in images if a % 4 + distance < 4]
    first, second = np.concatenate(
        [np.array(genuine).T, [np.tile(images, 10), ((images + step) % 240).ravel()]], axis=1
    )
    metrics = verify_pairs(features[first], features[second], labels[first] == labels[second], RATES)[2:]
    return pair_outcomes(features[first], features[second], labels[first], labels[second], metrics, RATES)


def test_outcomes_of_listed_pairs_counted_one_by_one() -> None:
    features, labels = faces(0, people=8, images=3)
    pairs = [(i, j) for i in range(len(labels)) for j in range(i + 1, len(labels)) if (i * j) % 5 != 1]
    first, second = np.array(pairs).T
    (metric,) = verify_pairs(features[first], features[second], labels[first] == labels[second], [0.1])[2:]
    (found,) = pair_outcomes(features[first], features[second], labels[first], labels[second], [metric], [0.1])
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.zeros((8, 4), np.int64)
    for i, j in pairs:
        above = units[i] @ units[j] > float(metric.threshold or 0) + 1e-9
        same = labels[i] == labels[j]
        for person in {labels[i] // 3, labels[j] // 3}:
            expected[person] += [same and above, same, above and not same, not same]
    columns = found.genuine_accepted, found.genuine, found.impostor_accepted, found.impostor
    assert np.array_equal(np.stack(columns, axis=1), expected)
    assert (found.value, found.impostors) == (metric.value, metric.impostor)


def test_outcomes_of_pairs_counted_one_by_one() -> None:
    features, labels = faces(0, people=8, images=3)
    own = labels < 12
    (metric,) = personalized_verification(features, labels, own, [0.1])
    (found,) = verification_outcomes(features, labels, own, [metric], [0.1])
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = np.zeros((8, 4), np.int64)
    for i in range(len(labels)):
        for j in range(i + 1, len(labels)):
            if own[i] or own[j]:
                above = units[i] @ units[j] > float(metric.threshold or 0) + 1e-6
                same = labels[i] == labels[j]
                for person in {labels[i] // 3, labels[j] // 3}:
                    expected[person] += [same and above, same, above and not same, not same]
    columns = found.genuine_accepted, found.genuine, found.impostor_accepted, found.impostor
    assert np.array_equal(np.stack(columns, axis=1), expected)
    assert found.people.tolist() == [0, 3, 6, 9, 12, 15, 18, 21]
    assert found.value == metric.value
    assert found.impostors == metric.impostor


def test_outcomes_of_searches_add_up_to_the_metric() -> None:
    features, labels = faces(1)
    enrolled = (labels < 90) & (np.arange(len(labels)) % 4 < 2)
    metrics = identify(features[enrolled], labels[enrolled], features[~enrolled], labels[~enrolled], FPIRS)
    found = identification(1)
    assert [each.value for each in found] == [metric.value for metric in metrics[:2]]
    assert [each.impostors for each in found] == [metric.impostor for metric in metrics[:2]]
    for each, rate in zip(found, FPIRS, strict=True):
        assert each.impostor_accepted.sum() <= rate * each.impostors
        assert not (each.genuine * each.impostor).any(), "a person is either enrolled or not"


def test_refused_metrics_have_no_outcomes() -> None:
    features, labels = faces(2, people=4, images=2)
    own = np.ones(len(labels), np.bool_)
    metrics = personalized_verification(features, labels, own, [0.001])
    assert metrics[0].refused
    assert verification_outcomes(features, labels, own, metrics, [0.001]) == []


@pytest.mark.parametrize("outcomes", [verification, identification, listed_pairs])
def test_the_influence_gives_the_sampling_error_over_people(outcomes: Callable[[int], list[PersonOutcomes]]) -> None:
    drawn = [outcomes(seed) for seed in range(120)]
    for place in range(2):
        each = [found[place] for found in drawn]
        true = np.std([found.value for found in each])
        estimated = np.sqrt(np.mean([(found.influence() ** 2).sum() for found in each]))
        # The standard deviation of 120 draws is known to 6.5 %.
        assert 0.8 * true < estimated < 1.25 * true
        by_pairs = np.mean([np.sqrt(found.value * (1 - found.value) / found.genuine.sum()) for found in each])
        assert by_pairs < 0.9 * true
