"""Colour and marker of each method, the same in every figure, readable on light and dark backgrounds."""

from __future__ import annotations

from colorsys import hls_to_rgb
from zlib import crc32

__all__ = ["colour", "is_emphasized", "marker"]

_FIXED = {
    "pretrained": "#8a8f98",
    "local": "#1f9e77",
    "centralized": "#a06cd5",
    "fedavg": "#2f7fd6",
    "fedfr": "#e4572e",
    "fedprox": "#c79100",
    "moon": "#d6519c",
    "fedface": "#17a2b8",
}
_MARKERS = "xosDP^v*"


def colour(method: str) -> str:
    """Return the colour of a method, ``#rrggbb``; methods without a fixed one get it from a checksum of their name."""
    if method in _FIXED:
        return _FIXED[method]
    number = crc32(method.encode())
    red, green, blue = hls_to_rgb((number % 360) / 360, 0.5 + 0.06 * (number // 360 % 3 - 1), 0.55)
    return "#" + "".join(f"{round(255 * part):02x}" for part in (red, green, blue))


def marker(method: str) -> str:
    """Return the Matplotlib marker of a method, so that lines can be distinguished without colour."""
    names = [*_FIXED]
    place = names.index(method) if method in names else crc32(method.encode())
    return _MARKERS[place % len(_MARKERS)]


def is_emphasized(method: str) -> bool:
    """Return whether a method is drawn bold, which only FedFR is."""
    return method == "fedfr"
