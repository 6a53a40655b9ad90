"""Settings of a gallery in ``gallery.yaml``, a file for people to read and edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from fedfr.config.loading import read_settings_file
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.settings import Settings, validate

__all__ = ["SETTINGS_FILE", "GallerySettings", "read_gallery_settings", "shown_value", "write_gallery_settings"]

SETTINGS_FILE = "gallery.yaml"

_TEXT = """\
# Settings of a gallery of enrolled people. Everything about them is sealed in gallery.db; site.key opens it.
# After a change by hand nothing is decided until `fedfr calibrate GALLERY --confirm-settings` puts it in force.

# Largest share of strangers that an identification may let pass. `fedfr calibrate` sets the thresholds for it.
fpir: {fpir}

# Checks of images at enrolment and recognition: strict, standard or off.
quality: {quality}

# Whether aligned faces are kept (sealed), so that the gallery can be rebuilt for another model: keep or none.
crops: {crops}

# Normalization of scores: none, or as-norm with a cohort of public faces.
normalization: {normalization}

# Days for which decisions stay in the journal; 0 keeps them without limit.
journal_days: {journal_days}

# Face detector in this folder; null takes aligned images only.
detector: {detector}

# SHA-256 of a detector that fedfr does not know, if it was confirmed; null for the others.
detector_sha256: {detector_sha256}

# Backbone of another package, `package.module:NAME`, which is imported to open the model; null for those of fedfr.
backbone: {backbone}

# Liveness check of another package, `package.module:function`; null checks nothing.
liveness: {liveness}
"""


class GallerySettings(Settings):
    """Settings of a gallery."""

    fpir: Annotated[float, Field(gt=0, lt=1)] = 0.01
    quality: Literal["strict", "standard", "off"] = "standard"
    crops: Literal["keep", "none"] = "none"
    normalization: Literal["none", "as-norm"] = "none"
    journal_days: Annotated[int, Field(ge=0, le=36500)] = 90
    detector: str | None = None
    detector_sha256: str | None = None
    backbone: str | None = None
    liveness: str | None = None


def read_gallery_settings(folder: Path) -> GallerySettings:
    """Read the settings of a gallery; raises :class:`FedfrError` if ``folder`` is no gallery or a value is wrong."""
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise FedfrError(f"{folder} is not a gallery: it has no {SETTINGS_FILE}; check the path, or create a gallery")
    return validate(GallerySettings, read_settings_file(path), str(path))


def write_gallery_settings(folder: Path, settings: GallerySettings) -> None:
    """Write the settings atomically, each with its description."""
    values = {name: shown_value(value) for name, value in settings.model_dump().items()}
    write_atomically(folder / SETTINGS_FILE, _TEXT.format(**values).encode())


def shown_value(value: Any) -> str:
    """Return a value of a setting as it is written in the file."""
    text: str = yaml.safe_dump(value, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()
