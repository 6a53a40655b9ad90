"""Protocol of published verification sets: intervals from the literature, metrics at their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from fedfr.evaluation import verify_pairs
from fedfr.evaluation.folds import fold_validation_rates
from fedfr.evaluation.protocols.pair_sets import verification_set_protocol, wilson_interval
from fedfr.evaluation.unit_features import normalize


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    [
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0.0, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_from_the_literature(share: float, count: int, low: float, high: float) -> None:
    assert wilson_interval(share, count) == pytest.approx((low, high), abs=5e-5)


def test_a_verification_set_has_metrics_with_intervals() -> None:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(400, 8))
    same = np.arange(400) % 2 == 0
    others = np.where(same[:, None], features + generator.normal(size=(400, 8)), generator.normal(size=(400, 8)))
    metrics = {each.name: each for each in verification_set_protocol(features, others, same)}
    plain = {each.name: each for each in verify_pairs(features, others, same, [1e-1])}
    assert metrics["accuracy"] == plain["accuracy"]
    assert metrics["TAR@FAR=1e-1"] == plain["TAR@FAR=1e-1"]
    for metric, count in (("accuracy", 400), ("TAR@FAR=1e-1", 200)):
        name, at, rate = metric.partition("@")
        ends = tuple(metrics[f"{name}({end}){at}{rate}"].value for end in ("low95", "high95"))
        assert ends == wilson_interval(metrics[metric].value or 0.0, count)
    low, middle, high = (metrics[f"EER{end}"].value or 0.0 for end in ("(low95)", "", "(high95)"))
    assert 0 < low < middle < high < low + 0.15
    assert metrics["TAR@FAR=1e-3"].refused == "rests on 0.2 impostors; at least 10 are needed"
    assert "TAR(low95)@FAR=1e-3" not in metrics
    rates = fold_validation_rates(normalize(features), normalize(others), same, 1e-3)
    assert rates is not None
    value, deviation = (metrics[f"{name}(insightface)@FAR=1e-3"] for name in ("VAL", "VAL-std"))
    assert [value.value, deviation.value] == pytest.approx([rates.mean(), rates.std()])
    assert [value.genuine, value.impostor, value.impostors_above] == pytest.approx([200, 200, 0.2])
    one_kind = verification_set_protocol(features, others, np.ones(400, np.bool_))
    assert [each.refused for each in one_kind if each.name == "EER"] == ["it needs genuine and impostor pairs"]
    refused = "not every one of 10 folds has genuine pairs, and impostors in the others"
    assert [each.refused for each in one_kind if each.name.startswith("VAL")] == [refused] * 2
    few = verification_set_protocol(features[:9], others[:9], same[:9])
    assert {each.name: each.refused for each in few if each.value is None} == {
        "accuracy": "9 pairs cannot be divided into 10 folds",
        "VAL(insightface)@FAR=1e-3": refused,
        "VAL-std(insightface)@FAR=1e-3": refused,
    }
