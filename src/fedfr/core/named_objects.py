"""Objects with names of the form ``package.module:attribute``: import by name, name of an object, its arguments."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Collection
from importlib import import_module
from typing import Any

from fedfr.core.errors import FedfrError

__all__ = ["home_of", "import_object", "is_dotted", "is_loaded", "named_arguments", "parameters_of", "why_local"]

# The parts are Python identifiers, so the protocol name `generic-1:1` does not match.
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.([^\W\d]\w*|<locals>))*")
_LOCALS = "<locals>"


def is_dotted(name: str) -> bool:
    """Return whether a name has the form ``package.module:attribute``."""
    return _DOTTED.fullmatch(name) is not None


def import_object(kind: str, name: str) -> Any:
    """Import the object that ``name`` (``package.module:attribute``) denotes.

    Raises :class:`FedfrError`, which begins with ``kind``, if the module or the attribute is missing, if importing the
    module fails, or if no other process can import the object.
    """
    module_name, _, path = name.partition(":")
    if why := why_local(name):
        raise FedfrError(f"{kind} {name!r} {why}; move it to the top level of a module that can be imported")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise FedfrError(
                f"{kind} {name!r}: there is no module {error.name!r}; install its package, add its folder to "
                "PYTHONPATH, or correct the name"
            ) from error
        raise _failed(kind, name, module_name, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(kind, name, module_name, error) from error
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            near = difflib.get_close_matches(part, dir(found), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "check the part of the name after the colon"
            raise FedfrError(f"{kind} {name!r}: {module_name} has no {path!r}; {hint}") from error
        except Exception as error:
            # The package may import its modules on access.
            raise _failed(kind, name, module_name, error) from error
    return found


def _failed(kind: str, name: str, module: str, error: BaseException) -> FedfrError:
    reason = " ".join(str(error).split())[:200]
    return FedfrError(f"{kind} {name!r}: importing {module} failed ({type(error).__name__}: {reason}); correct it")


def is_loaded(name: str) -> bool:
    """Return whether the module of a dotted name has been imported already."""
    return name.partition(":")[0] in sys.modules


def why_local(name: str) -> str:
    """Return why only the process that defined this object can use it; empty if any process can import it."""
    module, _, path = name.partition(":")
    if module in ("__main__", "__mp_main__"):
        return "is defined in the main program (a script or notebook), which other processes cannot import"
    if _LOCALS in path.split("."):
        return "is defined inside a function, where other processes cannot import it"
    return ""


def home_of(value: object, module_name: str = "") -> str:
    """Return the name ``package.module:attribute`` of an object; empty if it has none.

    Classes and functions have a name; other objects are searched by identity in the module ``module_name``.
    """
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if isinstance(module, str) and isinstance(path, str):
        # The name of a partial or lambda cannot be imported.
        name = f"{module}:{path}"
        return name if is_dotted(name) else ""
    found = sys.modules.get(module_name)
    for attribute, held in vars(found).items() if found is not None else ():
        if held is value:
            return f"{module_name}:{attribute}"
    return ""


def parameters_of(value: object) -> tuple[str, ...]:
    """Return the names of a function's parameters; empty for classes and other objects."""
    if not callable(value) or isinstance(value, type):
        return ()
    try:
        return tuple(inspect.signature(value).parameters)
    except (ValueError, TypeError):
        return ()


def named_arguments(value: Any, offered: Collection[str]) -> tuple[str, ...]:
    """Return the names among ``offered`` that a function takes; none if it needs others, or is no function.

    >>> from fedfr.core.named_objects import named_arguments
    >>> named_arguments(lambda values, trim=0.1: values, {"values", "trim", "norms"})
    ('values', 'trim')
    """
    if not callable(value) or isinstance(value, type):
        return ()
    try:
        parameters = inspect.signature(value).parameters.values()
    except (ValueError, TypeError):
        return ()
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    wanted = [each.name for each in named if each.default is each.empty]
    if not set(offered).issuperset(wanted) or any(each.kind is each.POSITIONAL_ONLY for each in named):
        return ()
    return tuple(each.name for each in named if each.name in offered)
