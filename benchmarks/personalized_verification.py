"""Exact 1:1 evaluation of one client at the paper's size: 4 000 own images among 160 000, TAR at six FARs.

Run: ``python benchmarks/personalized_verification.py [--json]``; at most two and a half minutes.

Features are drawn at random around one centre per identity: no time depends on whose they are. "Exact" means: the
threshold is the score of the wanted rank among all impostor scores as the float32 matrix product gives them, block by
block. The plain way keeps all those scores and sorts them; it runs on 1 000 own images of 20 000, where both must give
the same thresholds and figures. Beside it, 1:N search of the same images as probes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.evaluation import (
    gallery_rows,
    gallery_templates,
    open_set_identification,
    personalized_verification,
    released_identification,
)
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.metrics import Metric
from harness import Line, alternate, answer, limits, parser, peak_memory

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DIMENSIONS, PER_IDENTITY, SPREAD = 512, 40, 1.5
TARGET_SECONDS, TARGET_BYTES = 20, 2 << 30

Result = TypeVar("Result")


@dataclass(frozen=True)
class Faces:
    """Features of a set whose first images are the client's own."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    own: NDArray[np.bool_]

    def figures(self) -> list[Metric]:
        """Return the library's metrics."""
        return personalized_verification(self.features, self.labels, self.own, FARS, minimum_impostors=0)

    def sorted_figures(self) -> list[tuple[float, float]]:
        """Return TAR and threshold at every FAR from all sorted scores."""
        blocks = [
            (block.scores.reshape(-1).copy(), block.removed, block.genuine)
            for block in OwnPairs(self.features, self.labels, self.own).blocks()
        ]
        scores, removed, genuine = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        scores.sort()
        removed.sort()
        # Of equal scores, as many are taken out as were removed.
        repeats = np.arange(len(removed)) - np.searchsorted(removed, removed)
        impostor = np.delete(scores, np.searchsorted(scores, removed) + repeats)[::-1]
        thresholds = [impostor[math.floor(far * len(impostor))] for far in FARS]
        return [(float((genuine > threshold).mean()), float(threshold)) for threshold in thresholds]


def faces(own: int, count: int) -> Faces:
    """Return features of 40 images per identity, the client's own first."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) // PER_IDENTITY
    features = generator.standard_normal((labels[-1] + 1, DIMENSIONS), dtype=np.float32)[labels]
    # In blocks, so that the process initially holds little more than the features.
    for part in np.array_split(features, 40):
        np.add(part, SPREAD * generator.standard_normal(part.shape, dtype=np.float32), out=part)
    return Faces(features, labels, np.arange(count) < own)


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return seconds and result of one run."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def against_sorting() -> Line:
    """Compare the library and the plain version where all scores fit in memory."""
    small = faces(1_000, 20_000)
    found = small.figures()
    equal = small.sorted_figures() == [(figure.value, figure.threshold) for figure in found]
    ratio = alternate(small.sorted_figures, small.figures, 5)
    return Line(
        f"TAR at {len(FARS)} FARs, 1 000 own images of 20 000: sorting every score against counting",
        "the same figures and thresholds",
        f"{'the same' if equal else 'DIFFERENT'}, {ratio} as fast",
        equal,
        ratio=ratio,
        figures={"pairs": found[0].genuine + found[0].impostor},
    )


def full_size(paper: Faces, threads: int) -> Line:
    """Measure the paper's size three times: least time, largest memory."""
    runs = []
    for _ in range(3):
        with peak_memory() as peak:
            seconds, found = timed(paper.figures)
        runs.append((seconds, peak.above))
    seconds, above = min(run[0] for run in runs), max(run[1] for run in runs)
    pairs = OwnPairs(paper.features, paper.labels, paper.own)
    product = min(timed(lambda: [None for _ in pairs.blocks()])[0] for _ in range(2))
    counts = (found[0].genuine, found[0].impostor)
    at_most = 2 * DIMENSIONS * sum(counts) / limits(threads)["gemm_fp32"]
    met = seconds <= TARGET_SECONDS and above <= TARGET_BYTES and counts == (78_000, 631_920_000)
    return Line(
        f"TAR at {len(FARS)} FARs, {paper.own.sum():,} own images of {len(paper.own):,}, {DIMENSIONS} dimensions",
        f"at most {TARGET_SECONDS} s and {TARGET_BYTES >> 30} GiB beyond the features, 78 000 genuine, "
        "631 920 000 impostor",
        f"{seconds:.1f} s, {above / 2**30:.2f} GiB beyond the features, {counts[0]} genuine, {counts[1]} impostor",
        met,
        share=at_most / seconds,
        limit="the fp32 matrix product",
        peak_bytes=above,
        figures={
            "pairs": sum(counts),
            "seconds of the scores alone": product,
            "bytes of the features": paper.features.nbytes,
            **{figure.name: f"{figure.value} at {figure.threshold}" for figure in found},
        },
    )


def identification(paper: Faces) -> list[Line]:
    """Search every image among the client's own identities."""
    templates, identities = gallery_templates(paper.features[paper.own], paper.labels[paper.own])
    labels = gallery_rows(paper.labels, identities)
    lines = []
    for name, search in (("standard", open_set_identification), ("released", released_identification)):
        work = partial(search, templates, paper.features, labels, (1e-1, 1e-2, 1e-3))
        seconds = min(timed(work)[0] for _ in range(3))
        what = f"TPIR at 3 FPIRs, {name} convention: {len(labels):,} probes, {len(templates)} templates"
        lines.append(Line(what, "", f"{seconds:.2f} s", None))
    return lines


def main() -> None:
    """Measure and print the results."""
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    lines = [against_sorting()]
    paper = faces(4_000, 160_000)
    lines += [full_size(paper, given.threads), *identification(paper)]
    answer("personalized_verification", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
