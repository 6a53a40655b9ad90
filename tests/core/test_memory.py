"""Freed memory is kept by the process and reused without new page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from fedfr.core.memory import keep_freed_memory
def faults():
    for _ in range(20): torch.ones(20_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10): torch.ones(20_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), int(keep_freed_memory()), faults())
"""


def test_large_blocks_are_reused() -> None:
    """Ten tensors of 80 MB are 195 000 pages of 4 KiB."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    before, kept, after = map(int, done.stdout.split())
    if not kept:
        pytest.skip("not glibc: the C library cannot be told")
    assert before > 20_000
    assert after < 2_000
