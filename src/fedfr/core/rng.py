"""Random number generators derived from a seed and a purpose, independent of global state."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

__all__ = ["derive_seed", "numpy_generator", "torch_generator"]


def derive_seed(seed: int, *keys: int | str) -> int:
    """Return a 63-bit seed that depends only on ``seed`` and the keys.

    Keys name the purpose, for instance ``(round, client_id, "order")``, so that draws for one purpose do not change
    those for another.
    """
    text = "\x1f".join([str(seed), *(f"{type(key).__name__}:{key}" for key in keys)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Return a NumPy generator for one purpose, see :func:`derive_seed`."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *keys)))


def torch_generator(seed: int, *keys: int | str) -> torch.Generator:
    """Return a PyTorch CPU generator for one purpose, see :func:`derive_seed`."""
    generator = torch.Generator()
    generator.manual_seed(derive_seed(seed, *keys))
    return generator
