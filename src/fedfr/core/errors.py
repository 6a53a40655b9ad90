"""The one exception that means "the user can mend this": shown as a single line, exit code 2."""

from __future__ import annotations

__all__ = ["FedfrError", "InUseError", "WriteError"]


LONGEST, LAST = 2000, 500


class FedfrError(Exception):
    """A mistake in what was given. The message is one line: what, where, what is allowed, what to do.

    ``shareable``: the part that may leave the machine of a client that met it. A message may hold paths and names of
    private faces, so by default nothing of it may: the server learns only that the client stopped.

    >>> from fedfr import FedfrError, load_config
    >>> try:
    ...     load_config(None, ["federation.rounds=-1"])
    ... except FedfrError as error:
    ...     print(error)
    defaults: federation.rounds = -1: ...
    """

    def __init__(self, message: str, shareable: str = "it stopped; its own log says why") -> None:
        # What was given may be quoted in it: a file of others must not write over the terminal, nor fill it.
        super().__init__(_line(message))
        self.shareable = shareable


class InUseError(FedfrError):
    """A folder that another process has to itself for now."""


def _line(text: str) -> str:
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else " " if sign in "\r\n\t" else ascii(sign)[1:-1] for sign in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - LAST]} … {text[-LAST:]}"


class WriteError(FedfrError):
    """A place that cannot be written: a full disk, a file in the way, no permission.

    It says nothing about the faces or the training of whoever met it. Where clients share the run's machine it stops
    the run; only on a machine of its own is it that client's affair.
    """
