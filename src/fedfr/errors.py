"""The one exception that means "the user can mend this": shown as a single line, exit code 2."""

from __future__ import annotations

__all__ = ["FedfrError", "InUseError", "WriteError"]


class FedfrError(Exception):
    """A mistake in what was given. The message is one line: what, where, what is allowed, what to do.

    ``shareable``: the part that may leave the machine of a client that met it. A message may hold paths and names of
    private faces, so by default nothing of it may: the server learns only that the client stopped.
    """

    def __init__(self, message: str, shareable: str = "it stopped; its own log says why") -> None:
        super().__init__(message)
        self.shareable = shareable


class InUseError(FedfrError):
    """A folder that another process has to itself for now."""


class WriteError(FedfrError):
    """A place that cannot be written: a full disk, a file in the way, no permission.

    It says nothing about the faces or the training of whoever met it. Where clients share the run's machine it stops
    the run; only on a machine of its own is it that client's affair.
    """
