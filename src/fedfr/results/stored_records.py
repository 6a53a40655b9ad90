"""Reading of stored results: every record of a file is complete and has the types of its class."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from fedfr.core.errors import FedfrError

__all__ = ["records_of"]

T = TypeVar("T")


def records_of(
    kind: type[T], content: Any, where: object, remedy: str = "remove the file and resume the run"
) -> list[T]:
    """Return the JSON values ``content`` as a list of ``kind``, a dataclass.

    Raises :class:`FedfrError` naming ``where`` and the entry if one is missing or of another type.
    """
    if not isinstance(content, list):
        raise FedfrError(f"{where} is damaged: it is no list; {remedy}")
    adapter = TypeAdapter(kind)
    try:
        return [adapter.validate_python(each) for each in content]
    except ValidationError as error:
        entry = ".".join(map(str, error.errors()[0]["loc"])) or "one of all"
        raise FedfrError(f"{where} is damaged: entry {entry} is missing or invalid; {remedy}") from error
