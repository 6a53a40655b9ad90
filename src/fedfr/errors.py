"""The one exception that means "the user can mend this": shown as a single line, exit code 2."""

from __future__ import annotations

__all__ = ["FedfrError", "WriteError"]


class FedfrError(Exception):
    """A mistake in what was given. The message is one line: what, where, what is allowed, what to do."""


class WriteError(FedfrError):
    """A place that cannot be written: a full disk, a file in the way, no permission.

    It says nothing about the faces or the training of whoever met it. Where clients share the run's machine it stops
    the run; only on a machine of its own is it that client's affair.
    """
