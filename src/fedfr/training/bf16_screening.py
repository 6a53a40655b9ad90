"""Cosine similarities in reduced precision (bfloat16, float32) with bounds on their rounding error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

__all__ = ["RoundedDirections", "RoundedFeatures", "cosines", "full_accumulation", "has_fast_bf16"]

PAIRS = 4096
# Unit roundoff: 8 and 24 significant bits, the hidden one included.
ROUNDOFF = {torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24}


@dataclass(frozen=True)
class RoundedDirections:
    """Unit vectors (n, D) of finite features, rounded to a short type.

    ``error`` bounds the distance between any of them and its exact unit vector.
    """

    values: torch.Tensor
    error: float

    @classmethod
    def of(cls, features: torch.Tensor, kind: torch.dtype, block: int) -> RoundedDirections:
        """Round ``features`` (n, D) to ``kind``, ``block`` rows at a time.

        The error is measured: it is far below the theoretical bound, which few components reach.
        """
        values, errors = [features.new_empty(0, features.shape[1], dtype=kind)], [features.new_zeros(1).double()]
        for rows in features.split(block):
            wide = rows.double()
            length = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
            wide /= torch.where(length == 0, 1.0, length)
            values.append(wide.to(kind))
            errors.append(torch.linalg.vector_norm(wide - values[-1], dim=1))
        return cls(torch.cat(values), float(torch.cat(errors).max()))

    def __getitem__(self, chosen: torch.Tensor | slice) -> RoundedDirections:
        return RoundedDirections(self.values[chosen], self.error)


@dataclass(frozen=True)
class RoundedFeatures:
    """Features (n, D) rounded to a short type, not normalized, with their lengths (n,) in float64.

    ``error`` bounds the distance between a rounded feature and the exact one, relative to its length.
    """

    values: torch.Tensor
    length: torch.Tensor
    error: float

    @classmethod
    def of(cls, features: torch.Tensor, kind: torch.dtype, previous_error: float = 0.0) -> RoundedFeatures:
        """Round ``features`` (n, D) to ``kind``; ``previous_error`` is the relative error they already have."""
        length = torch.linalg.vector_norm(features, dim=1, dtype=torch.float64)
        return cls(features.to(kind), length, ROUNDOFF[kind] + previous_error)

    def limits(self, columns: RoundedDirections, threshold: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (low, high), each (n, 1), outside which a product is certain to be on that side of ``threshold``.

        A product of row i with a column below low[i] has an exact cosine below the threshold; above high[i], above it.

        A row r = ‖r‖ (d + a) and a column q = e + b are rounded from the directions d and e. Relative to ‖r‖:

        - |r·q − d·e| = |a·q + d·b| ≤ ‖a‖ (1 + ‖b‖) + ‖b‖, by Cauchy and Schwarz, where ‖a‖ ≤ 2⁻⁸ for bfloat16;
        - products of bfloat16 are exact in float32, and a sum of D terms in float32, in any order, is off by at most
          about D 2⁻²⁴ Σ|r_k q_k| ≤ D 2⁻²⁴ (1 + 2⁻⁸)²; twice that covers hardware that rounds twice or flushes
          subnormals to zero;
        - the final rounding of the sum s adds no error: rounding is monotone, so round(s) > round(t) implies s > t,
          and the limits are rounded like the products.

        For lengths near the ends of the float32 range, where sums overflow or underflow, the limits are infinite.
        """
        slack = self.error * (1 + columns.error) + columns.error + (self.values.shape[1] + 2) * 2.0**-23
        usual = (self.length > 1e-25) & (self.length < 1e30)
        low = torch.where(usual, (threshold - slack) * self.length, -torch.inf)
        high = torch.where(usual, (threshold + slack) * self.length, torch.inf)
        return low.to(self.values.dtype)[:, None], high.to(self.values.dtype)[:, None]


def cosines(left: torch.Tensor, row: torch.Tensor, right: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
    """Return the float64 cosines (n,) of the pairs ``left[row]``, ``right[column]``; 0 for a zero feature.

    Uses only elementwise float64 operations in a fixed order, so the result is the same to the bit on every machine.
    """
    found = [left.new_empty(0, dtype=torch.float64)]
    for rows, columns in zip(row.split(PAIRS), column.split(PAIRS), strict=True):
        a, b = left[rows].double(), right[columns].double()
        lengths = (_sum(a * a) * _sum(b * b)).sqrt()
        found.append(_sum(a * b) / torch.where(lengths == 0, 1.0, lengths))
    return torch.cat(found)


def _sum(terms: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension by pairwise halving; the order of torch.sum depends on the processor."""
    while terms.shape[1] > 1:
        if terms.shape[1] % 2:
            terms = torch.nn.functional.pad(terms, (0, 1))
        half = terms.shape[1] // 2
        terms = terms[:, :half] + terms[:, half:]
    return terms[:, 0]


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 matrices in hardware with float32 accumulation."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Only oneDNN uses these instructions; otherwise torch emulates the type with an undocumented accumulation type.
    usable = device.type == "cpu" and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
    return usable and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def full_accumulation() -> Iterator[None]:
    """Context manager: compute float32 products in full precision and accumulate in float32.

    The process-wide settings of PyTorch are restored afterwards.
    """
    cuda, before = torch.backends.cuda.matmul, torch.get_float32_matmul_precision()
    reduced = cuda.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    cuda.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        cuda.allow_bf16_reduced_precision_reduction = reduced
