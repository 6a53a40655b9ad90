"""Plan of ``fedfr quickstart``: five deals of ORL, disjoint in private people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedfr.config.loading import absolute_paths, merge
from fedfr.core.settings import validate
from fedfr.experiments.benchmark_plan import Plan, refuse_reserved
from fedfr.experiments.registration import stored_names

__all__ = ["DEALS", "quickstart_plan"]

DEALS = 5
"""Number of deals: as many as the 40 people of ORL allow with 8 private people in each."""

_ONE_RUN = "`fedfr train quickstart --out RUN`"
_RESERVED = {"seed": "--seed", "split.settings.seed": "--seed", "method.name": _ONE_RUN, "baselines": _ONE_RUN}


def quickstart_plan(settings: Mapping[str, Any] | None = None, seed: int = 0) -> Plan:
    """Return the plan of the quickstart with changed ``settings``; every ``seed`` deals and trains differently.

    Raises :class:`~fedfr.FedfrError` for the settings that the quickstart chooses itself.
    """
    given = stored_names(absolute_paths(settings or {}, Path.cwd()))
    refuse_reserved(given, _RESERVED, "quickstart")
    plan = {
        "name": "quickstart",
        "config": "quickstart",
        "budget": "cpu",
        "methods": ["local", "fedfr"],
        "seeds": list(range(DEALS * seed, DEALS * (seed + 1))),
        "settings": merge({"split": {"settings": {"deals": DEALS}}, "evaluation": {"people": True}}, given),
    }
    return validate(Plan, plan, "quickstart")
