"""How threads of a process wait for each other: asleep.

OpenMP's threads, which PyTorch computes with, wait for work by spinning. Beside any other work on the machine that
costs several times what it saves: a thread that spins keeps the processor from the one that is waited for.
"""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["let_threads_sleep"]

_STATED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_threads_sleep(environment: MutableMapping[str, str]) -> None:
    """Set in ``environment`` that waiting threads sleep, unless it says already how they wait.

    It counts for a process that loads PyTorch afterwards, and for those started with this environment.
    """
    if not any(name in environment for name in _STATED):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
