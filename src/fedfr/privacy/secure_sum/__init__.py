"""Secure aggregation: the server learns the sum of the sites' vectors and no single vector.

The protocol is that of Bonawitz et al., *Practical Secure Aggregation for Privacy-Preserving Machine Learning*
(CCS 2017), in its variant against a server that deviates from it, on a complete graph of at most
:data:`~fedfr.privacy.secure_sum.agreement.MOST_SITES` sites. Each site i has a vector x_i over the integers modulo 2³².
All messages pass the server, here called the coordinator. Before the run, every site pins the identity keys of all
others and the threshold t (:mod:`.agreement`). Stages of a round:

1. **begin**: site i draws two X25519 key pairs, one for boxes and one for masks, and sends the public keys, signed.
   *U1* are the sites that did. The signature covers the round, the hash of the received model and the layout of x.
   Answered attacks: keys of the server in a site's name (signature by a pinned key); keys of an earlier round
   (the round is signed); another model for one site, whose update would then stand out of the sum (model
   inconsistency: Pasquini et al., *Eluding Secure Aggregation in Federated Learning via Model Inconsistency*, CCS 2022;
   the model's hash enters every later key, so that masks of sites with different models do not cancel).
2. **share**: site i verifies all keys of U1, draws a seed b_i, splits b_i and its secret mask key into shares of which
   t recover them (:mod:`.shares`), and sends to each other site its two shares in a box that only it can open
   (:mod:`.boxes`). *U2* are the sites that did. Answered attacks: different lists of keys for different sites (the hash
   of U1 enters every later key and signature); a list of fewer than t sites.
3. **mask**: site i sends y_i = x_i + PRG(b_i) + Σ_{j>i} PRG(k_ij) − Σ_{j<i} PRG(k_ij), over the j of U2, where k_ij is
   the key that i and j agree on (:mod:`.masks`). *U3* are the sites whose y_i arrived in time. PRG(b_i) hides x_i when
   y_i arrives after the server has recovered the k_ij of a site that it took for dead.
4. **consent**: site i signs U3, once for ever in this round. Answered attacks: different U3 for different sites, which
   would give both kinds of shares of one site; a second sum of the same round with one site fewer, whose difference
   from the first is that site's vector (training is deterministic, so a repeated round repeats x_i).
5. **unmask**: site i verifies the signatures of t sites over the same U3 and sends, for every j of U2, exactly one
   share: of b_j if j is in U3, of j's mask key otherwise. The coordinator recovers the secrets, checks each against
   what its site published, and removes the masks from Σ y_i.

Each stage has a hash that contains the one before (:mod:`.agreement`); every key, signature and box is bound to it.
A site answers the same request with the same bytes, whatever happens between, and refuses a second one
(:mod:`.site_record`). Secrets are erased from the record as soon as no answer needs them; what Python and file systems
cannot guarantee there is described in :mod:`.site_record`.

Not protected: the correctness of the sum. A site can send any vector, also one that wraps the ring, and the server can
announce any sum. Nor does the sum itself protect anything but the single vectors in it (:mod:`.collusion`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.privacy.secure_sum.agreement import (
        RoundPlan,
        SumAgreement,
        SumLostError,
        hash_model,
        smallest_threshold,
    )
    from fedfr.privacy.secure_sum.collusion import describe_collusion
    from fedfr.privacy.secure_sum.coordinator import Coordinator
    from fedfr.privacy.secure_sum.coordinator_record import CoordinatorRecord, run_sum
    from fedfr.privacy.secure_sum.fixed_point import Entry, Layout, decode_sum, encode_update
    from fedfr.privacy.secure_sum.keys import Identity
    from fedfr.privacy.secure_sum.site import Site
    from fedfr.privacy.secure_sum.update_vectors import layout_of, mean_of, vector_of

__all__ = [
    "Coordinator",
    "CoordinatorRecord",
    "Entry",
    "Identity",
    "Layout",
    "RoundPlan",
    "Site",
    "SumAgreement",
    "SumLostError",
    "decode_sum",
    "describe_collusion",
    "encode_update",
    "hash_model",
    "layout_of",
    "mean_of",
    "run_sum",
    "smallest_threshold",
    "vector_of",
]

__getattr__ = exports(
    __name__,
    {
        "agreement": "RoundPlan SumAgreement SumLostError hash_model smallest_threshold",
        "collusion": "describe_collusion",
        "coordinator": "Coordinator",
        "coordinator_record": "CoordinatorRecord run_sum",
        "fixed_point": "Entry Layout decode_sum encode_update",
        "keys": "Identity",
        "site": "Site",
        "update_vectors": "layout_of mean_of vector_of",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
