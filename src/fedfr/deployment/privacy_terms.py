"""Terms of differential privacy for a person in an agreement."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field

from fedfr.config.schema import ExperimentConfig, PrivacyConfig

__all__ = ["PrivacyTerms"]


class PrivacyTerms(PrivacyConfig):
    """The settings of ``privacy`` in a run, and the share of the sites that take part in a round.

    Everything from which server and sites compute the same plan, beside what an agreement contains anyway.
    """

    participation: Annotated[float, Field(gt=0, le=1)]

    @classmethod
    def of(cls, config: ExperimentConfig) -> Self:
        """Return the terms of a run."""
        return cls(**config.privacy.model_dump(), participation=config.federation.participation)

    @property
    def config(self) -> PrivacyConfig:
        """The settings of ``privacy``."""
        return PrivacyConfig(**self.model_dump(exclude={"participation"}))
