"""Every random draw of a run comes from a generator named by what it is for, never from global state."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

__all__ = ["derive_seed", "numpy_generator", "torch_generator"]


def derive_seed(seed: int, *keys: int | str) -> int:
    """A 63-bit seed that depends on ``seed`` and on every key, and on nothing else.

    Keys name the purpose, for instance ``(round, client_id, "order")``: draws for one purpose never shift another's.
    """
    text = "\x1f".join([str(seed), *(f"{type(key).__name__}:{key}" for key in keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *keys: int | str) -> np.random.Generator:
    """NumPy generator for one purpose, see :func:`derive_seed`."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *keys)))


def torch_generator(seed: int, *keys: int | str) -> torch.Generator:
    """CPU torch generator for one purpose, see :func:`derive_seed`."""
    generator = torch.Generator()
    generator.manual_seed(derive_seed(seed, *keys))
    return generator
