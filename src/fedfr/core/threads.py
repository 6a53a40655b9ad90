"""Waiting policy of OpenMP threads.

By default the OpenMP threads of PyTorch wait for work in a busy loop. On a machine with other work this costs several
times what it saves, because a waiting thread occupies the processor that a working thread needs.
"""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["let_threads_sleep"]

_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Make waiting OpenMP threads sleep, unless ``environment`` already sets a waiting policy.

    Effective if PyTorch is loaded afterwards, and for processes started with this environment.
    """
    if not any(name in environment for name in _VARIABLES):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
