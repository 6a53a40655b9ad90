"""Record of the personalized models that a site exported, so that the copies can be named when a person withdraws."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.deployment.site_status_file import timestamp

__all__ = ["ExportedModel", "exported_models", "record_export"]

FILE = "exports.json"


@dataclass(frozen=True)
class ExportedModel:
    """An exported model: its file, the agreement and round of the model, and when it was written."""

    path: str
    agreement: str
    round: int
    written: str


def record_export(private: Path, path: Path, agreement: str, round_number: int) -> None:
    """Record an export in the folder of private states; call it before the model is written."""
    entry = ExportedModel(str(path.resolve()), agreement, round_number, timestamp())
    write_json(private / FILE, [*map(asdict, exported_models(private)), asdict(entry)])


def exported_models(private: Path) -> list[ExportedModel]:
    """Return the recorded exports; raises :class:`FedfrError` if the record is damaged."""
    path = private / FILE
    if not path.exists():
        return []
    content = read_json(path)
    try:
        return [
            ExportedModel(str(each["path"]), str(each["agreement"]), int(each["round"]), str(each["written"]))
            for each in content
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise FedfrError(f"{path} has a missing or invalid entry ({error!r}); restore or remove it") from error
