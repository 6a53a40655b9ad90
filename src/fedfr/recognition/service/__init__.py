"""HTTP service of one gallery: API, adapter for CompreFace's clients, web page, tokens and limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.recognition.service.app import create_app
    from fedfr.recognition.service.limits import ServiceLimits
    from fedfr.recognition.service.server import serve
    from fedfr.recognition.service.tokens import Token, Tokens
else:
    __getattr__ = exports(
        __name__,
        {"app": "create_app", "limits": "ServiceLimits", "server": "serve", "tokens": "Token Tokens"},
    )

__all__ = ["ServiceLimits", "Token", "Tokens", "create_app", "serve"]


def __dir__() -> list[str]:
    return sorted(__all__)
