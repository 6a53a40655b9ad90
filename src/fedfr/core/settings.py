"""Validation of settings with one-line error messages: the setting, its value, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from fedfr.core.errors import FedfrError

__all__ = ["Settings", "allowed", "validate"]

# Largest number of characters of a given value that a message repeats.
_LONGEST = 300

S = TypeVar("S", bound=BaseModel)


class Settings(BaseModel):
    """Base class of groups of settings: immutable, unknown names are errors, numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validate(kind: type[S], content: Mapping[str, Any], where: str) -> S:
    """Validate ``content`` with the settings class ``kind``.

    Raises :class:`FedfrError` that begins with ``where`` and names the first invalid setting and its value.
    """
    try:
        return kind.model_validate(dict(content))
    except ValidationError as error:
        errors = error.errors(include_url=False)
        first = errors[0]
        place, wanted = _locate(kind, first["loc"])
        if first["type"] == "missing":
            raise FedfrError(f"{where}: {_missing(kind, errors)}") from error
        if first["type"] == "extra_forbidden":
            unknown = ".".join(str(part) for part in first["loc"])
            raise FedfrError(
                f"{where}: unknown setting {unknown!r}; known here: {', '.join(wanted.model_fields)}"
            ) from error
        if first["type"] == "value_error":
            reason = str(first["ctx"]["error"])
        else:
            reason = f"give {_advice(place, wanted, first['input'])}"
        shown = repr(first["input"])
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} …"
        given = f"{place} = {shown}: " if place else ""
        raise FedfrError(f"{where}: {given}{reason}") from error


def _missing(kind: type[BaseModel], errors: Sequence[Any]) -> str:
    """List the missing required settings, each with its allowed values."""
    places = [_locate(kind, each["loc"]) for each in errors if each["type"] == "missing"]
    wanted = ", ".join(f"{place} ({_advice(place, annotation, None)})" for place, annotation in places)
    return f"missing {'are' if len(places) > 1 else 'is'} {wanted}; give {'them' if len(places) > 1 else 'it'}"


def allowed(annotation: Any, limits: Sequence[Any] = ()) -> str:
    """Describe the allowed values of a setting of this type, for instance "a number above 0 and at most 1"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *extras = arguments
        given = [limit for extra in extras for limit in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
        return allowed(inner, [*limits, *given])
    if origin in (Union, UnionType):
        return " or ".join(allowed(choice) for choice in arguments)
    if origin is Literal:
        *others, last = (repr(choice) for choice in arguments)
        return f"{', '.join(others)} or {last}" if others else last
    if origin is tuple:
        some = "a list of one or more values" if any(hasattr(limit, "min_length") for limit in limits) else "a list"
        return f"{some}, each {allowed(arguments[0])}"
    if annotation in (int, float):
        bounds = " and ".join(filter(None, map(_bound, limits)))
        return f"{'a whole number' if annotation is int else 'a number'} {bounds}".rstrip()
    words = {bool: "true or false", str: "text (a number in quotes)", NoneType: "null"}
    return words.get(annotation, "settings by name")


def _bound(limit: Any) -> str:
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "at most"}
    return " and ".join(f"{word} {getattr(limit, name)}" for name, word in words.items() if hasattr(limit, name))


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _locate(kind: type[BaseModel], location: Sequence[int | str]) -> tuple[str, Any]:
    """Return the dotted name and the type of a setting, without pydantic's suffixes for branches of a union."""
    names: list[str] = []
    wanted: Any = kind
    for part in location:
        inner = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
        if get_origin(inner) in (Union, UnionType):
            # Settings that may be null: the error is in what was given for them.
            inner = wanted = next(filter(_is_group, get_args(inner)), inner)
        if _is_group(inner) and part in inner.model_fields:
            field = inner.model_fields[str(part)]
            wanted = Annotated[field.annotation, field] if field.metadata else field.annotation
        elif isinstance(part, int) and get_origin(inner) is tuple:
            wanted = get_args(inner)[0]
        else:
            break
        names.append(str(part))
    return ".".join(names), wanted


def _advice(place: str, wanted: Any, given: Any) -> str:
    inner = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
    if _is_group(inner):
        name, field = next(iter(inner.model_fields.items()))
        if field.is_required():
            return f"its settings by name, for example {place}.{name}=…"
        # For `method=fedavg` the example is method.name=fedavg; a value of another type is not repeated.
        example = given if type(given) is type(field.default) else field.default
        shown = f"[{example[0]}]" if isinstance(example, tuple) else example
        return f"its settings by name, for example {place}.{name}={shown}"
    if get_origin(inner) is tuple and isinstance(given, str | int | float):
        return f"a list, for example [{given}]"
    return allowed(wanted)
