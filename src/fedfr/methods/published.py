"""Evaluation of the published checkpoint, as a baseline."""

from __future__ import annotations

from fedfr.methods.pretrained import Pretrained

__all__ = ["Published"]


class Published(Pretrained):
    """Runs no round: the generic model is the file ``model.start`` as it is, without training on the public faces.

    Without pre-training it is identical to the starting model, ``pretrained``.
    """

    generic_model = "published"
    starts_untrained = True
