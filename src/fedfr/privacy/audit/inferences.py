"""Scores of an attacker, larger for what it takes to be true, from one observation and general knowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from fedfr.privacy.audit.background import Background
from fedfr.privacy.audit.observations import (
    FinalModel,
    Observation,
    OwnSite,
    PersonalModels,
    SeenModel,
    SingleUpdates,
    SumOnly,
)

__all__ = ["Seen", "enrolment", "membership", "mined", "reconstructed", "seen_models", "with_others"]

# Scale of the softmax over public identities. An attacker does not need to know that of the training.
_SCALE = 30.0

Seen = Mapping[str, torch.Tensor]
"""Scores (units,) by what was observed: by client, or one entry for all clients together."""

ALL = "all clients"


def seen_models(observation: Observation) -> tuple[SeenModel | None, dict[str, SeenModel]]:
    """Return the model before the round, if it is seen, and the models after it by whose people they show."""
    match observation:
        case SingleUpdates(before, updates):
            return before, dict(updates)
        case SumOnly(before, after):
            return before, {ALL: after}
        case OwnSite():
            return observation.before, {ALL: _others(observation)}
        case FinalModel(model):
            return None, {ALL: model}
    return None, {}


def _others(seen: OwnSite) -> SeenModel:
    """Return the average of the other sites, as far as a site can tell: with the same weight for every site."""
    share = 1 / seen.clients
    return _combined(seen.after, seen.own, lambda value, own: (value - share * own) / (1 - share))


def with_others(seen: OwnSite, others: SeenModel) -> OwnSite:
    """Return the observation in which the average of the other sites is ``others``."""
    share = 1 / seen.clients
    return replace(seen, after=_combined(others, seen.own, lambda value, own: (1 - share) * value + share * own))


def _combined(
    model: SeenModel, own: SeenModel, combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> SeenModel:
    """Combine all floating-point tensors of a model with those of a site's own update, where it has them."""
    weights = {
        name: combine(value, own.weights[name]) if name in own.weights and value.is_floating_point() else value
        for name, value in model.weights.items()
    }
    prototypes = model.prototypes
    if prototypes is not None and own.prototypes is not None:
        prototypes = combine(prototypes, own.prototypes)
    return SeenModel(weights, prototypes)


def _prototype_changes(observation: Observation) -> tuple[torch.Tensor, dict[str, torch.Tensor]] | None:
    """Return Φ_g before the round and its changes (K_g, D); None if the observer does not see them."""
    before, after = seen_models(observation)
    if before is None or before.prototypes is None:
        return None
    start = before.prototypes
    changes = {name: model.prototypes - start for name, model in after.items() if model.prototypes is not None}
    return (start, changes) if changes else None


def mined(observation: Observation, background: Background) -> Seen:
    """Score public identities by how far their prototypes moved: those trained on as hard negatives move most."""
    found = _prototype_changes(observation)
    if found is None:
        return {}
    start, changes = found
    length = start.norm(dim=1).clamp_min(1e-12)
    return {name: change.norm(dim=1) / length for name, change in changes.items()}


def enrolment(observation: Observation, background: Background) -> Seen:
    """Score candidates by how far the public prototypes that resemble them were pushed away from them.

    The gradient of the softmax moves the prototype φ_k by −Σ_x p_k(x) x over the private features x.
    """
    before, _ = seen_models(observation)
    found = _prototype_changes(observation)
    if found is None or before is None:
        return {}
    start, changes = found
    features = background.features(before.weights)
    nearest = (_SCALE * features @ nn.functional.normalize(start).T).softmax(1)
    length = start.norm(dim=1, keepdim=True).clamp_min(1e-12)
    scores = {
        name: background.mean(-(nearest * (features @ (change / length).T)).sum(1)) for name, change in changes.items()
    }
    return _compared(scores)


def _compared(scores: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return scores less their mean over the clients, which depends on the candidate alone; a single one as it is."""
    if len(scores) < 2:
        return scores
    mean = torch.stack([*scores.values()]).mean(0)
    return {name: score - mean for name, score in scores.items()}


def membership(observation: Observation, background: Background) -> Seen:
    """Score candidates by how compact their features are, compared with the model before, if it is seen.

    With templates of people, the score is the largest cosine between a candidate and one of them.
    """
    if isinstance(observation, PersonalModels):
        features = background.features_under(observation.network)
        if not observation.templates:
            return {observation.site: background.compactness(features)}
        templates = nn.functional.normalize(torch.cat([*observation.templates.values()]))
        return {observation.site: (background.templates(features) @ templates.T).amax(1)}
    before, after = seen_models(observation)
    start = 0.0 if before is None else background.compactness(background.features(before.weights))
    compact = {name: background.compactness(background.features(model.weights)) for name, model in after.items()}
    return _compared({name: value - start for name, value in compact.items()})


def reconstructed(observation: Observation) -> dict[str, torch.Tensor]:
    """Return directions (R, D), by client, in which private prototypes are expected to lie.

    Sent private prototypes, or rows of a file, are such directions as they are. Public prototypes are pushed away from
    the private features that resemble them, so their changes, with the opposite sign, are estimates of those.
    """
    if isinstance(observation, PersonalModels):
        rows = torch.cat([*observation.templates.values()]) if observation.templates else None
        return {} if rows is None else {observation.site: nn.functional.normalize(rows)}
    if not isinstance(observation, SingleUpdates):
        return {}
    sent = {name: model.identities for name, model in observation.updates.items() if model.identities is not None}
    if sent:
        return {name: nn.functional.normalize(rows) for name, rows in sent.items()}
    found = _prototype_changes(observation)
    if found is None:
        return {}
    start, changes = found
    axes = nn.functional.normalize(start)
    # Weight decay and length change a prototype along itself only.
    away = {name: -(change - (change * axes).sum(1, keepdim=True) * axes) for name, change in changes.items()}
    return {name: nn.functional.normalize(rows) for name, rows in away.items()}
