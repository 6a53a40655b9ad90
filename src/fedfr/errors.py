"""The one exception that means "the user can mend this": shown as a single line, exit code 2."""

from __future__ import annotations

__all__ = ["FedfrError"]


class FedfrError(Exception):
    """A mistake in what was given. The message is one line: what, where, what is allowed, what to do."""
