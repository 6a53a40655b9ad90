"""Search for hard negatives at the paper's size: 6 500 private × 420 671 public features of 512 values.

Run: ``python benchmarks/hard_negatives.py [--public N] [--threads N] [--json]``, at most 2.5 minutes. Features are
synthetic: people in clusters, part of them near a private person, so that the public images' largest similarities
spread around the threshold 0.4. The plain way – float32 products in blocks, as the project's first version had it – is
compared in turn on a slice of the public set; it would take several times as long on all of it. The whole set is then
searched once, for its rate and its memory beyond the features.
"""

from __future__ import annotations

import time
from functools import partial

import torch

from fedfr.training.hard_negatives import hard_negatives
from harness import Line, alternate, answer, limits, parser, peak_memory

PUBLIC, PRIVATE, DIM, THRESHOLD, SLICE = 420_671, 6_500, 512, 0.4, 16_384
IMAGES = 48  # of one public person
PEOPLE = 100


def clustered(public: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return public (N, D) and private (n, D) features; two images of an identity have a cosine of about 0.6 to 0.7."""
    generator = torch.Generator().manual_seed(seed)
    people = torch.nn.functional.normalize(torch.randn(PEOPLE, DIM, generator=generator))
    private = people.repeat_interleave(PRIVATE // PEOPLE, 0)
    private += 0.033 * torch.randn(private.shape, generator=generator)
    count = -(-public // IMAGES)
    features = torch.empty(count * IMAGES, DIM)
    for rows in features.split(1024 * IMAGES):  # in parts, to keep the peak memory below that of the measurement
        persons = len(rows) // IMAGES
        likeness = torch.rand(persons, 1, generator=generator) ** 2
        like = people[torch.randint(PEOPLE, (persons,), generator=generator)] * likeness
        persona = like + torch.nn.functional.normalize(torch.randn(persons, DIM, generator=generator))
        rows.normal_(0, 0.033, generator=generator)
        rows.add_(torch.nn.functional.normalize(persona).repeat_interleave(IMAGES, 0))
    return features[:public], private


def plain_version(public: torch.Tensor, private: torch.Tensor, threshold: float, block: int = 4096) -> torch.Tensor:
    """Plain version: compute every product in float32."""
    private = torch.nn.functional.normalize(private, dim=1)
    kept = []
    for start in range(0, len(public), block):
        rows = torch.nn.functional.normalize(public[start : start + block], dim=1)
        nearest = rows.new_full((len(rows),), -torch.inf)
        for columns in private.split(block):
            nearest = torch.maximum(nearest, (rows @ columns.T).amax(dim=1))
        kept.append(torch.nonzero(nearest > threshold).flatten() + start)
    return torch.cat(kept)


def exact_version(public: torch.Tensor, private: torch.Tensor, threshold: float) -> torch.Tensor:
    """Compute every product in float64."""
    wide = torch.nn.functional.normalize(private.double()).T
    found = [
        (torch.nn.functional.normalize(rows.double()) @ wide).amax(dim=1) > threshold for rows in public.split(512)
    ]
    return torch.nonzero(torch.cat(found)).flatten()


def measure(public_images: int, threads: int) -> list[Line]:
    """Measure the ratio on a slice, the exactness of its result, and one complete search."""
    torch.set_num_threads(threads)
    public, private = clustered(public_images)
    some = public[:: max(1, public_images // SLICE)][:SLICE].contiguous()
    expected = exact_version(some, private, THRESHOLD)
    agree = torch.equal(hard_negatives(some, private, THRESHOLD), expected)
    ratio = alternate(
        partial(plain_version, some, private, THRESHOLD), partial(hard_negatives, some, private, THRESHOLD), 3
    )
    found: list[torch.Tensor] = []
    with peak_memory() as peak:
        started = time.perf_counter()
        found.append(hard_negatives(public, private, THRESHOLD))
        seconds = time.perf_counter() - started
    limit = limits(threads)["gemm_fp32"]  # immediately afterwards, under the same conditions
    rate = 2.0 * public_images * PRIVATE * DIM / seconds
    mebibytes = peak.above / 2**20
    return [
        Line(
            f"{PRIVATE} private × {public_images} public × {DIM}, everything once",
            "1.3 × the float32 product's rate",
            f"{seconds:.1f} s, {rate / limit:.2f} × the float32 product's rate",
            rate >= 1.3 * limit,
            share=rate / limits(threads)["gemm_bf16"],
            limit="the bfloat16 product's rate",
            figures={
                "GFLOP/s": rate / 1e9,
                "float32 product GFLOP/s": limit / 1e9,
                "bfloat16 product GFLOP/s": limits(threads)["gemm_bf16"] / 1e9,
                "share kept": len(found[0]) / public_images,
            },
        ),
        Line(
            "memory beyond the features, everything once",
            "1024 MiB",
            f"{mebibytes:.0f} MiB",
            mebibytes <= 1024,
            peak_bytes=peak.above,
        ),
        Line(
            f"against float32 products in blocks, every {public_images // len(some)}th public image ({len(some)})",
            "",
            f"{ratio}",
            None,
            ratio=ratio,
        ),
        Line(
            f"the set, against float64 products, on the same {len(some)}",
            "equal",
            "equal" if agree else "different",
            agree,
            figures={"kept": len(expected)},
        ),
    ]


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.add_argument("--public", type=int, default=PUBLIC, help="public images")
    given = options.parse_args()
    answer("hard_negatives", measure(given.public, given.threads), threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
