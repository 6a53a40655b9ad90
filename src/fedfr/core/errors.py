"""Exceptions for errors that the user can correct; the command line shows them as one line with exit code 2."""

from __future__ import annotations

__all__ = ["STOPPED", "FedfrError", "InUseError", "WriteError", "printable"]

STOPPED = "it stopped; its own log says why"
"""Shareable text of an error that declares none."""

LONGEST, LAST = 2000, 500
_BLANKS = str.maketrans("\r\n\t", "   ")


class FedfrError(Exception):
    """Invalid input. The message is one line: what was given, where, what is allowed, what to do.

    ``shareable`` is the text that a client may send to the server. A message may contain paths and names of private
    identities, so by default the server learns only that the client stopped.

    >>> from fedfr import FedfrError, load_config
    >>> try:
    ...     load_config(None, ["federation.rounds=-1"])
    ... except FedfrError as error:
    ...     print(error)
    defaults: federation.rounds = -1: ...
    """

    def __init__(self, message: str, shareable: str = STOPPED) -> None:
        # The message may quote input: control characters must not reach the terminal, and its length is limited.
        super().__init__(_line(message))
        self.shareable = shareable


class InUseError(FedfrError):
    """A folder is locked by another process."""


def printable(text: str, keep: str = "") -> str:
    r"""Return a text in which signs that control a terminal, beside those of ``keep``, are written as escapes.

    >>> from fedfr.core.errors import printable
    >>> print(printable("a\x1b[2J"))
    a\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else ascii(sign)[1:-1] for sign in text)


def _line(text: str) -> str:
    text = printable(text.translate(_BLANKS))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - LAST]} … {text[-LAST:]}"


class WriteError(FedfrError):
    """A path cannot be written: full disk, existing file, no permission.

    It is not caused by a client's data. If clients share the machine of the run, it stops the run; on a machine of its
    own it stops only that client.
    """
