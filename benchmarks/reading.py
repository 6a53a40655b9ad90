"""Faces in random batches of 256: from a memory-mapped set, a training set of two sets, and JPEG files.

Run: ``python benchmarks/reading.py [--json]``; under a minute, about 400 MB in the temporary folder.

Images are smooth noise, no faces: reading copies them whatever they show, and JPEG decoding takes as long for smooth
images of the same quality. Figures are with the files in the page cache unless a line says otherwise.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.faces import FaceSet
from fedfr.faces.readers.image_reading import read_image
from fedfr.training.training_set import TrainingSet
from harness import Line, answer, parser

BATCH, BATCHES, PER_IDENTITY, TARGET = 256, 40, 10, 10_000
PRIVATE, PUBLIC, JPEGS = 2_000, 8_000, 2_048


def samples(count: int, seed: int) -> NDArray[np.uint8]:
    """Return images (count, 112, 112, 3) of 8 × 8 random colours, enlarged, with pixel noise."""
    generator = np.random.default_rng(seed)
    made = np.empty((count, 112, 112, 3), np.uint8)
    for image in made:
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        noise = generator.integers(0, 9, image.shape, dtype=np.uint8)
        image[:] = cv2.add(cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC), noise)
    return made


def stored(folder: Path, count: int, seed: int) -> FaceSet:
    """Write a face set to disk and memory-map it."""
    labels = np.arange(count) // PER_IDENTITY
    FaceSet(samples(count, seed), labels, [str(label) for label in range(labels[-1] + 1)]).save(folder)
    return FaceSet.load(folder)


def rates(read: Callable[[torch.Tensor], object], count: int, batches: int = BATCHES) -> list[float]:
    """Return the images per second of random batches, five measurements, sorted."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(5):
        drawn = torch.randint(count, (batches, BATCH), generator=generator)
        started = time.perf_counter()
        for indices in drawn:
            read(indices)
        found.append(batches * BATCH / (time.perf_counter() - started))
    return sorted(found)


def line(what: str, found: Sequence[float], wanted: bool) -> Line:
    """Return median, lowest and highest rate as a row."""
    middle = found[len(found) // 2]
    return Line(
        what,
        f"at least {TARGET} images/s" if wanted else "",
        f"{middle:,.0f} images/s ({found[0]:,.0f} to {found[-1]:,.0f})",
        middle >= TARGET if wanted else None,
        figures={"images/s": middle},
    )


def cold(folder: Path) -> Line:
    """Measure one pass over all images in random order with an empty page cache."""
    faces = FaceSet.load(folder)
    with (folder / "pixels.npy").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    order = np.random.default_rng(0).permutation(len(faces))
    started = time.perf_counter()
    for start, stop in pairwise(range(0, len(faces) + 1, BATCH)):
        faces.images(order[start:stop])
    seconds = time.perf_counter() - started
    found = len(faces) // BATCH * BATCH / seconds
    return line("Memory-mapped set, every image once, page cache emptied", [found], wanted=False)


def jpegs(folder: Path) -> list[Line]:
    """Measure the importer's decoder on JPEG files of cameras with one and two threads."""
    files = [folder / f"{number}.jpg" for number in range(JPEGS)]
    for file, image in zip(files, samples(JPEGS, 3), strict=True):
        file.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    size = sum(file.stat().st_size for file in files) / JPEGS
    lines = []
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:

            def read(indices: torch.Tensor, pool: ThreadPoolExecutor = pool) -> NDArray[np.uint8]:
                return np.stack(list(pool.map(lambda index: read_image(files[index]), indices.tolist())))

            what = f"JPEG files decoded on the fly, {threads} thread{'s' * (threads > 1)}, {size / 1024:.1f} KiB a file"
            lines.append(line(what, rates(read, JPEGS, 8), wanted=False))
    return lines


def main() -> None:
    """Measure and print the results."""
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        private, public = stored(folder / "private", PRIVATE, 1), stored(folder / "public", PUBLIC, 2)
        one, two = (
            TrainingSet([(public, None, 0)]),
            TrainingSet([(private, None, 0), (public, None, private.num_identities)]),
        )
        lines = [
            line(f"Memory-mapped set of {PUBLIC:,}", rates(one.images, len(one)), wanted=True),
            line(f"Pool of two sets, {PRIVATE:,} and {PUBLIC:,}", rates(two.images, len(two)), wanted=True),
        ]
        del one, two, private, public
        lines += [cold(folder / "public"), *jpegs(folder)]
    answer("reading", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
