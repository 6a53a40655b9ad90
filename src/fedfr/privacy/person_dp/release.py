"""What a site sends under differential privacy: its noised sum, charged in the ledger first."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import numpy.typing as npt

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp.discrete_gaussian import discrete_gaussian
from fedfr.privacy.person_dp.ledger import Ledger
from fedfr.privacy.person_dp.person_changes import PersonSum
from fedfr.privacy.person_dp.random_words import RandomWords

__all__ = ["noised_sum"]

# Values at a time: bounds what is needed beside the vector.
_BLOCK = 1 << 20


def noised_sum(
    people: PersonSum, ledger: Ledger, *, run: str, round_number: int, model: bytes
) -> npt.NDArray[np.uint32]:
    """Return the sum over a site's persons plus this site's noise, modulo 2³², uint32 (values,).

    ``model`` is the hash of the received θ^t and public prototypes, followed by that of the agreement if it leaves in a
    secure sum. The charge and the seed of the noise are on disk when this returns. Called again with the same sum and
    model, before the round is accepted, it returns the same bits without another charge; the noise of any other sum is
    independent of it. Raises :class:`FedfrError` as :meth:`~fedfr.privacy.person_dp.ledger.Ledger.charge` does; then
    nothing may be sent.
    """
    if not model:
        raise FedfrError("a noised sum needs the hash of the model of its round; it is empty")
    mechanism = people.mechanism
    described = json.dumps([dataclasses.asdict(mechanism), run, round_number, model.hex(), people.digest().hex()])
    content = hashlib.sha256(described.encode()).digest()
    words = RandomWords(ledger.charge(run, round_number, content, mechanism), content)
    noised = np.empty(mechanism.values, np.uint32)
    for place in range(0, mechanism.values, _BLOCK):
        part = people.total[place : place + _BLOCK]
        noise = discrete_gaussian(len(part), mechanism.site_variance, words)
        noised[place : place + _BLOCK] = (part + noise) & 0xFFFFFFFF
    return noised
