"""Terms of secure sums in an agreement: threshold, largest count, norm, and the key of every site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from fedfr.config.schema import FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.core.settings import Settings
from fedfr.deployment.public_keys import key_fingerprint
from fedfr.deployment.sum_keys import sum_key_bytes, sum_key_line
from fedfr.experiments.secure_sums import clip_norm_of, largest_count_of, threshold_of
from fedfr.privacy.secure_sum.agreement import SumAgreement
from fedfr.privacy.secure_sum.collusion import describe_collusion

__all__ = ["SecureTerms"]


class SecureTerms(Settings):
    """Terms of secure sums.

    ``threshold``: shares that recover a secret. ``largest_count``: largest number of images of one site. ``keys``:
    public key of each site, as a line of OpenSSH. ``clip_norm``: norm to which every site clips its change.
    """

    threshold: Annotated[int, Field(ge=2)]
    largest_count: Annotated[int, Field(ge=1)]
    keys: dict[str, str]
    clip_norm: Annotated[float, Field(gt=0)] | None = None

    @classmethod
    def of(cls, federation: FederationConfig, clients: tuple[str, ...], keys: Mapping[str, str]) -> SecureTerms:
        """Return the terms of a run; raises :class:`FedfrError` if a site has no registered key for secure sums."""
        missing = [client for client in clients if client not in keys]
        if missing:
            raise FedfrError(
                f"federation.secure = sum: {', '.join(missing[:3])} registered no key for secure sums; call `fedfr "
                "site key` there, and `fedfr server register` with the file that it writes"
            )
        return cls(
            threshold=threshold_of(federation, len(clients)),
            largest_count=largest_count_of(federation),
            keys={client: sum_key_line(keys[client]) for client in clients},
            clip_norm=clip_norm_of(federation),
        )

    def agreement(self, run: str, clients: tuple[str, ...]) -> SumAgreement:
        """Return the agreement of the protocol; raises :class:`FedfrError` for keys that are not those of the sites.

        ``run``: fingerprint of all terms, to which every signature and mask is bound.
        """
        if self.keys.keys() != {*clients}:
            raise FedfrError("the keys for secure sums are not those of the sites; ask the coordinator for a new file")
        return SumAgreement(run, {client: sum_key_bytes(line) for client, line in self.keys.items()}, self.threshold)

    def describe(self, run: str, clients: tuple[str, ...], *, noised: bool = False) -> Iterator[str]:
        """Yield what is learned by whom, and what to compare before a run starts; ``noised``: vectors have noise."""
        yield from describe_collusion(self.agreement(run, clients), noised=noised)
        yield from (f"key of {client}: {key_fingerprint(line)}" for client, line in sorted(self.keys.items()))
        yield (
            f"The agreement has the fingerprint {run}, which covers all keys. Compare it with the operators of the "
            "other sites, not through the coordinator, who could have replaced keys or added sites of its own."
        )
