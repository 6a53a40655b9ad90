"""IJB-C at its real size: from the features of the images to all 1:1 and 1:N metrics.

Run: ``python benchmarks/ijb.py [--json] [--folder FOLDER]``; about five minutes, most of them to make the set, and
1.5 GB of disk in FOLDER (by default a temporary one). The set has the published counts, lists in the published layout,
comparisons in random order, empty files for images, and features drawn around one centre per subject: no time depends
on whose they are. Measured is what ``fedfr evaluate --features`` does once all features are kept: reading and checking
the lists, adding up templates block by block, all figures of the three protocols.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.evaluation import PROTOCOLS
from fedfr.evaluation.ijb import TemplateSums
from fedfr.evaluation.metrics import Metric
from fedfr.evaluation.protocols.ijb import IJB_LISTS
from fedfr.faces.readers.ijb import IJB_KINDS, IjbFolder, find_ijb
from fedfr.training.feature_blocks import FeatureBlocks
from harness import Line, answer, parser, peak_memory

DIMENSIONS, SPREAD = 512, 5
KIND = IJB_KINDS[1]
GALLERIES = (1_772, 1_759)
ABOUT = {"weights": "random"}
TARGET_SECONDS, TARGET_BYTES = 60, 4 << 30

Result = TypeVar("Result")


def make(folder: Path) -> None:
    """Write the lists, empty images, and all features below ``folder``."""
    generator = np.random.default_rng(0)
    counts = KIND.counts
    enrolled, probes = counts["enrolled subjects"], counts["probes"]
    ids = np.sort(generator.choice(300_000, enrolled + probes, replace=False))
    subjects = np.concatenate([np.arange(enrolled), generator.integers(0, enrolled, probes)])
    for name in ("meta", "loose_crop"):
        (folder / name).mkdir(parents=True)
    _lists_of_images(folder, ids, generator)
    _lists_of_searches(folder, ids, subjects)
    _list_of_pairs(folder / KIND.pairs[0], ids, subjects, generator)
    images = IjbFolder(folder, KIND).images
    centres = generator.standard_normal((enrolled, DIMENSIONS), dtype=np.float32)

    def features(first: int, stop: int) -> NDArray[np.float32]:
        noise = generator.standard_normal((stop - first, DIMENSIONS), dtype=np.float32)
        noise *= SPREAD
        noise += centres[subjects[images.templates[first:stop]]]
        return noise

    for _ in FeatureBlocks(folder / "features", len(images), ABOUT).blocks(features):
        pass


def _lists_of_images(folder: Path, ids: NDArray[np.int64], generator: np.random.Generator) -> None:
    """Return the image lists: every template has an image, a medium one or several."""
    count = KIND.counts["images"]
    templates = np.sort(np.concatenate([ids, generator.choice(ids, count - len(ids))]))
    media = np.cumsum(generator.random(count) < 0.4)
    points = generator.uniform(20, 200, (count, 10))
    scores = generator.uniform(0.3, 1, count)
    with (folder / KIND.images).open("w") as membership, (folder / KIND.points).open("w") as landmarks:
        for row in range(count):
            name = f"{row + 1}.jpg"
            membership.write(f"{name} {templates[row]} {media[row]}\n")
            numbers = " ".join(f"{value:.3f}" for value in points[row])
            landmarks.write(f"{name} {numbers} {scores[row]:.6f}\n")
            (folder / "loose_crop" / name).touch()


def _lists_of_searches(folder: Path, ids: NDArray[np.int64], subjects: NDArray[np.int64]) -> None:
    first, both = GALLERIES[0], sum(GALLERIES)
    for name, rows in zip(KIND.searches, (slice(first), slice(first, both), slice(both, None)), strict=True):
        with (folder / name).open("w") as file:
            file.write("TEMPLATE_ID,SUBJECT_ID,FILENAME\n")
            file.writelines(
                f"{template},{subject},img/{template}.jpg\n"
                for template, subject in zip(ids[rows].tolist(), subjects[rows].tolist(), strict=True)
            )


def _list_of_pairs(path: Path, ids: NDArray[np.int64], subjects: NDArray[np.int64], generator: Any) -> None:
    """Return each comparison of an enrolled template with a probe once, in random order."""
    enrolled, probes = KIND.counts["enrolled subjects"], KIND.counts["probes"]
    genuine = generator.permutation(subjects[enrolled:] * probes + np.arange(probes))
    drawn = generator.permutation(np.delete(np.arange(enrolled * probes, dtype=np.int64), genuine))
    chosen = [genuine[: KIND.counts["genuine pairs"]], drawn[: KIND.counts["impostor pairs"]]]
    marks = np.concatenate([np.ones(len(chosen[0]), np.int64), np.zeros(len(chosen[1]), np.int64)])
    order = generator.permutation(len(marks))
    flat, marks = np.concatenate(chosen)[order], marks[order]
    with path.open("wb") as file:
        for start in range(0, len(flat), 1 << 18):
            part = flat[start : start + (1 << 18)]
            values = zip(
                ids[part // probes].tolist(),
                ids[enrolled + part % probes].tolist(),
                marks[start : start + len(part)].tolist(),
                strict=True,
            )
            file.write(b"".join(b"%d %d %d\n" % each for each in values))


def evaluate(folder: Path) -> tuple[dict[str, tuple[float, float]], IjbFolder, dict[str, list[Metric]]]:
    """Return wall and CPU seconds of every step, the set, and all metrics."""
    steps: dict[str, tuple[float, float]] = {}

    def step(name: str, work: Callable[[], Result]) -> Result:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        steps[name] = (time.perf_counter() - wall, time.process_time() - cpu)
        return result

    ijb = find_ijb(folder)
    assert ijb is not None
    ijb.require(*IJB_LISTS.values())
    images = step("read the lists of images", lambda: ijb.images)
    step("read the list of pairs", lambda: ijb.pairs)
    step("read the lists of searches", lambda: ijb.searches)

    def templates() -> NDArray[np.float64]:
        sums = TemplateSums.of_images(images)
        for features in FeatureBlocks(folder / "features", len(images), ABOUT).blocks(_not_kept):
            sums.add(features)
        return sums.features()

    made = step("features to templates", templates)
    figures = {
        name: step(name, partial(PROTOCOLS[name], templates=made, lists=getattr(ijb, IJB_LISTS[name])))
        for name in IJB_LISTS
    }
    return steps, ijb, figures


def _not_kept(first: int, stop: int) -> NDArray[np.float32]:
    raise SystemExit(f"features {first} to {stop} are not whole; name another --folder")


def measure(folder: Path) -> Line:
    """Measure the complete evaluation once."""
    with peak_memory() as peak:
        steps, ijb, figures = evaluate(folder)
    wall, cpu = (sum(step[index] for step in steps.values()) for index in (0, 1))
    resident = peak.start + peak.above
    counts = ijb.counts()
    whole = "the published counts" if not ijb.differences() else f"OTHER counts: {ijb.differences()}"
    met = wall <= TARGET_SECONDS and resident <= TARGET_BYTES and not ijb.differences()
    return Line(
        f"IJB-C from kept features: {counts['images']:,} images, {counts['templates']:,} templates, "
        f"{counts['genuine pairs'] + counts['impostor pairs']:,} pairs, {counts['probes']:,} probes",
        f"at most {TARGET_SECONDS} s and {TARGET_BYTES >> 30} GiB resident, the published counts",
        f"{wall:.1f} s ({cpu:.1f} s of CPU time), {resident / 2**30:.2f} GiB resident, {whole}",
        met,
        peak_bytes=peak.above,
        figures={
            **{name: f"{each[0]:.2f} s, {each[1]:.2f} s of CPU time" for name, each in steps.items()},
            **{f"{name} {each.name}": _value(each) for name, found in figures.items() for each in found},
        },
    )


def _value(figure: Metric) -> str:
    return f"refused: {figure.refused}" if figure.value is None else f"{figure.value:.6f}"


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.add_argument("--folder", type=Path, help="where the set is made, or was made before; kept")
    options.add_argument("--make", type=Path, help="only make the set there")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    if given.make:
        make(given.make)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary) / "IJBC"
        if not folder.exists():
            # In a separate process, so that creating the set does not count.
            subprocess.run([sys.executable, __file__, "--make", str(folder)], check=True)
        answer("ijb", [measure(folder)], threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
