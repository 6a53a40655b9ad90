"""Positive controls: observations in which the leak that an inference looks for was planted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedfr.privacy.audit.background import Background, compactness
from fedfr.privacy.audit.inferences import seen_models, with_others
from fedfr.privacy.audit.observations import FinalModel, Observation, OwnSite, SeenModel, SingleUpdates, SumOnly

__all__ = ["Truth", "overfitted", "plant_enrolment", "plant_mined", "with_after"]

Truth = Callable[[str], NDArray[np.bool_]]
"""Returns what is true of each unit, by the name of what was observed."""

_MOST_PEOPLE, _PHOTOGRAPHS, _STEPS, _RATE = 40, 4, 160, 1e-3
_MARGIN = 0.02


def with_after(observation: Observation, change: Callable[[str, SeenModel], SeenModel]) -> Observation:
    """Return the observation with other models after the round; ``change`` gets the name of what is observed."""
    match observation:
        case SingleUpdates():
            updates = {name: change(name, model) for name, model in observation.updates.items()}
            return replace(observation, updates=updates)
        case SumOnly():
            (name,) = seen_models(observation)[1]
            return replace(observation, after=change(name, observation.after))
        case OwnSite():
            # In what the site sees of the others: it subtracts its own part.
            ((name, others),) = seen_models(observation)[1].items()
            return with_others(observation, change(name, others))
        case FinalModel():
            (name,) = seen_models(observation)[1]
            return replace(observation, model=change(name, observation.model))
    return observation


def plant_mined(observation: Observation, truth: Truth) -> Observation:
    """Return an observation in which only the prototypes of mined identities have moved."""
    before, _ = seen_models(observation)
    assert before is not None
    assert before.prototypes is not None
    start = before.prototypes

    def change(name: str, model: SeenModel) -> SeenModel:
        moved = torch.from_numpy(truth(name)).to(start)[:, None]
        return replace(model, prototypes=start * (1 + 0.1 * moved))

    return with_after(observation, change)


def plant_enrolment(observation: Observation, background: Background, truth: Truth) -> Observation:
    """Return an observation in which all public prototypes moved against what tells those enrolled from the others."""
    before, _ = seen_models(observation)
    assert before is not None
    assert before.prototypes is not None
    start, features = before.prototypes, background.features(before.weights)
    centred = features - features.mean(0)

    def change(name: str, model: SeenModel) -> SeenModel:
        enrolled = torch.from_numpy(truth(name))[background.labels].to(features)
        towards = torch.linalg.lstsq(centred, (enrolled - enrolled.mean())[:, None], driver="gelsd").solution[:, 0]
        return replace(model, prototypes=start - start.norm(dim=1, keepdim=True) * towards)

    return with_after(observation, change)


def overfitted(
    background: Background, weights: Mapping[str, torch.Tensor], who: NDArray[np.bool_], compared: bool
) -> SeenModel:
    """Return a backbone that was trained until the chosen candidates, ``who``, are told from all others.

    ``compared``: by the compactness that they gained, as for an observer who has the model before; otherwise by their
    compactness. At most so many people and photographs are used that it takes seconds with a small backbone.
    """
    device, photographs = background.compute.device, background.photographs
    kept = np.concatenate([np.flatnonzero(mask)[:_MOST_PEOPLE] for mask in (who, ~who)])
    rows = np.concatenate([np.flatnonzero(photographs.labels == person)[:_PHOTOGRAPHS] for person in kept])
    images = torch.from_numpy(photographs.images(rows)).to(device)
    labels = torch.from_numpy(np.searchsorted(np.sort(kept), photographs.labels[rows]))
    chosen = torch.from_numpy(who[np.sort(kept)])
    module = background.network(weights)
    optimizer = torch.optim.Adam(module.parameters(), lr=_RATE)
    start = None if compared else torch.zeros(len(kept))
    for _ in range(_STEPS):
        features = nn.functional.normalize(background.compute.features(module, images)).cpu()
        gained = compactness(features, labels, len(kept))
        start = gained.detach() if start is None else start
        gained = gained - start
        if not (~chosen).any() or gained[chosen].min() > gained[~chosen].max() + _MARGIN:
            break
        optimizer.zero_grad()
        (gained[~chosen].mean() - gained[chosen].mean()).backward()
        optimizer.step()
    return SeenModel({name: value.detach().cpu().clone() for name, value in module.state_dict().items()})
