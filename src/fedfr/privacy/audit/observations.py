"""What each observer of one round sees; a scorer is given one of these, and nothing else of the run.

Nothing here holds private images, labels, names, private prototypes of other observers' models, or the truth that
scores are compared with: that is known to :mod:`fedfr.privacy.audit.measures` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from fedfr.core.short_repr import Brief

__all__ = ["FinalModel", "Observation", "OwnSite", "PersonalModels", "SeenModel", "SingleUpdates", "SumOnly"]


@dataclass(frozen=True, repr=False)
class SeenModel(Brief):
    """Tensors of a model that an observer sees.

    ``weights``: all entries of the backbone, those that are not sent as they were before. ``prototypes``: public
    prototypes Φ_g, or None if they are not seen. ``identities``: private prototypes, if a method sends them.
    """

    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor | None = None
    identities: torch.Tensor | None = None


@dataclass(frozen=True, repr=False)
class SingleUpdates(Brief):
    """Server that sees each update: the model that it sent, and the update of every client."""

    before: SeenModel
    updates: Mapping[str, SeenModel]


@dataclass(frozen=True, repr=False)
class SumOnly(Brief):
    """Server that sees only the secure sum: the model that it sent, and the next one, which is the average."""

    before: SeenModel
    after: SeenModel


@dataclass(frozen=True, repr=False)
class OwnSite(Brief):
    """Another site: two consecutive generic models, its own update, and the agreed number of clients."""

    site: str
    before: SeenModel
    after: SeenModel
    own: SeenModel
    clients: int


@dataclass(frozen=True, repr=False)
class FinalModel(Brief):
    """Holder of the final generic model."""

    model: SeenModel


@dataclass(frozen=True, repr=False)
class PersonalModels(Brief):
    """Holder of one site's personalized model.

    ``network``: the network of the exported file. ``templates``: rows that describe one person each, if the holder has
    any: a gallery's templates, or private prototypes and branches of a model that was not stripped.
    """

    site: str
    network: nn.Module
    templates: Mapping[str, torch.Tensor] = field(default_factory=dict)


Observation = SingleUpdates | SumOnly | OwnSite | FinalModel | PersonalModels
