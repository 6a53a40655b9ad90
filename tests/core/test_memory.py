"""Freed memory is kept by the process and reused without new page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from fedfr.core.memory import keep_freed_memory
kept = {keep} and keep_freed_memory()
for _ in range(20): torch.ones(20_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): torch.ones(20_000_000)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> tuple[bool, int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    kept, faults = done.stdout.split()
    return bool(int(kept)), int(faults)


def test_large_blocks_are_reused() -> None:
    """Ten tensors of 80 MB are 195 000 pages of 4 KiB."""
    kept, faults = page_faults(keep=True)
    if not kept:
        pytest.skip("not glibc: the C library cannot be told")
    assert faults < 2_000
    assert page_faults(keep=False)[1] > 20_000
