"""Face sets of millions of images: time and memory of loading, digests, every split recipe, and a RecordIO index.

Run: ``python benchmarks/face_scale.py [--images 5800000] [--identities 85000] [--mixed] [--folder DIR] [--json]``; some
minutes, and 1 to 4 GB of disk in DIR, removed afterwards.

The set is made up: labels, names, random digests and an index that leads into an empty (sparse) RecordIO file, in the
very folder that ``fedfr faces import`` writes. No image is decoded: what that costs is in ``reading.py``. Identities
have sizes drawn from a gamma distribution; ``--mixed`` puts their images in random order, the worst case for a recipe,
where a RecordIO file has them one identity after the other. Every step runs in a process of its own, without torch:
``cpu`` is the processor's time of the whole process, imports included; ``peak`` the most memory it ever held (VmHWM),
``anonymous`` and ``mapped`` what it holds at the end, in MB. Mapped pages are the kernel's file cache, shared by all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.faces import FaceSet, Split, make_split
from fedfr.faces.array_columns import Digests
from fedfr.faces.readers.recordio import RecordFile, RecordPixels, read_index, read_layout
from fedfr.faces.readers.recordio.header import pack_payload
from fedfr.faces.readers.recordio.linked import link
from fedfr.faces.readers.recordio_import import RecordNames
from fedfr.faces.storage import write_linked_faces
from fedfr.faces.writers.recordio import frame_record

RECORD = 8192
AT_ONCE = 1 << 16


def memory() -> dict[str, float]:
    """Return the resident memory of this process in MB."""
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    found = {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines if words[0].startswith(("VmHWM", "Rss"))}
    return {
        "peak": round(found["VmHWM"]),
        "anonymous": round(found["RssAnon"]),
        "mapped": round(found["RssFile"] + found["RssShmem"]),
    }


def made_labels(images: int, identities: int, mixed: bool) -> NDArray[np.int64]:
    """Return labels with at least one image per identity, distributed as in real sets."""
    generator = np.random.default_rng(0)
    shares = generator.gamma(1.2, size=identities)
    sizes = 1 + generator.multinomial(images - identities, shares / shares.sum())
    labels = np.repeat(np.arange(identities), sizes)
    return generator.permutation(labels) if mixed else labels


def write(given: argparse.Namespace) -> None:
    """Write the folder that an import with ``--link`` creates."""
    labels = made_labels(given.images, given.identities, given.mixed)
    names = [f"{number:07d}" for number in range(given.identities)]
    keys = np.arange(1, given.images + 1)
    records = given.folder / "train.rec"
    with records.open("wb") as file:
        file.truncate(RECORD * (given.images + 1))
    digests = Digests(np.random.default_rng(1).integers(0, 256, (given.images, 32), np.uint8))
    pixels = RecordPixels(RecordFile(records), keys, RECORD * keys)
    described = RecordNames(labels, names, keys)
    (given.folder / "partitions.json").write_text(json.dumps((labels % 100).tolist()), encoding="ascii")
    write_linked_faces(
        given.folder / "faces", labels, names, described, digests, lambda folder: link(folder, pixels, digests)
    )


def records(given: argparse.Namespace) -> None:
    """Write a RecordIO file in InsightFace's layout with images of a few bytes, and its index."""
    labels = np.sort(made_labels(given.images, given.identities, False))
    ends = np.cumsum(np.bincount(labels)) + 1
    first = len(labels) + 1

    def payloads() -> Iterator[tuple[int, bytes]]:
        yield 0, _floats(0, first, first + given.identities)
        for key, label in enumerate(labels.tolist(), start=1):
            yield key, pack_payload(label, key, b"jpg!")
        for number, (start, end) in enumerate(zip([1, *ends[:-1].tolist()], ends.tolist(), strict=True)):
            yield first + number, _floats(first + number, start, end)

    at, lines = 0, []
    with (given.folder / "small.rec").open("wb") as file, (given.folder / "small.idx").open("wb") as index:
        for key, payload in payloads():
            framed = frame_record(payload)
            file.write(framed)
            lines.append(f"{key}\t{at}\n")
            at += len(framed)
            if len(lines) == AT_ONCE:
                index.write("".join(lines).encode())
                lines.clear()
        index.write("".join(lines).encode())


def _floats(number: int, *labels: int) -> bytes:
    """Return labels as MXNet writes them, rounded to float32."""
    rounded = [int(np.float32(label)) for label in labels]
    return pack_payload(rounded, number)


def read_records(given: argparse.Namespace) -> None:
    """Read index and layout of the RecordIO file."""
    index = read_index(given.folder / "small.idx")
    layout = read_layout(RecordFile(given.folder / "small.rec"), index)
    assert len(layout.labels) == given.images
    assert layout.mixed_ranges == 0


def load(given: argparse.Namespace) -> FaceSet:
    """Load the face set."""
    return FaceSet.load(given.folder / "faces")


def split_by(recipe: str, settings: Callable[[argparse.Namespace], dict[str, Any]]) -> Callable[..., None]:
    """Split, check and save, as ``fedfr faces split`` does."""

    def step(given: argparse.Namespace) -> None:
        faces = load(given)
        made = make_split(faces, recipe, **settings(given))
        made.save(given.folder / f"{recipe}.json")

    return step


def load_split(given: argparse.Namespace) -> Split:
    """Load the manifest of the recipe ``general``."""
    return Split.load(given.folder / "general.json")


def worker(given: argparse.Namespace) -> FaceSet:
    """Load what a process that serves clients holds: the face set and one client's part."""
    faces, split = load(given), load_split(given)
    return faces.subset(next(iter(split.clients.values())).train)


def general(given: argparse.Namespace) -> dict[str, Any]:
    """Return settings of the recipe ``general``: half of the identities public, a quarter at 100 clients."""
    return {
        "public_identities": given.identities // 2,
        "clients": 100,
        "identities_per_client": given.identities // 400,
    }


STEPS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "import fedfr.faces": lambda given: None,
    "write the folder": write,
    "load": load,
    "load, digests checked": lambda given: load(given).digests(),
    "split general": split_by(
        "general",
        lambda given: general(given) | {"distractors": "generic"},
    ),
    "split general, duplicates=drop": split_by(
        "general",
        lambda given: general(given) | {"duplicates": "drop"},
    ),
    "split quickstart": split_by("quickstart", lambda given: {}),
    "split lfw-fed": split_by("lfw-fed", lambda given: {"public_identities": 100}),
    "split ms1m-fedfr": split_by(
        "ms1m-fedfr",
        lambda given: {
            "public_identities": given.identities // 200,
            "clients": given.identities // 2000,
            "identities_per_client": 5,
            "generic_identities": None,
        },
    ),
    "split partition": split_by(
        "partition",
        lambda given: {
            "partition": str(given.folder / "partitions.json"),
            "public_identities": given.identities // 2,
        },
    ),
    "split sites": split_by(
        "sites", lambda given: {"clients": ["a", "b"], "generic_identities": given.identities // 9}
    ),
    "load the split": load_split,
    "load the set and one client": worker,
    "write a RecordIO file": records,
    "read its index and layout": read_records,
}


def main() -> None:
    """Run every step in its own process."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=5_800_000)
    options.add_argument("--identities", type=int, default=85_000)
    options.add_argument("--mixed", action="store_true")
    options.add_argument("--folder", type=Path)
    options.add_argument("--only", nargs="*", default=list(STEPS), help="names of steps")
    options.add_argument("--json", action="store_true")
    options.add_argument("--step", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.step is not None:
        start = time.perf_counter()
        kept = STEPS[given.step](given)
        seconds = {"seconds": round(time.perf_counter() - start, 2), "cpu": round(time.process_time(), 2)}
        print(json.dumps({"step": given.step, **seconds, **memory()}))
        del kept
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for name in given.only:
            size = ["--images", str(given.images), "--identities", str(given.identities), "--folder", folder]
            mixed = ["--mixed"] if given.mixed else []
            command = [sys.executable, __file__, *size, *mixed, "--step", name]
            answer = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
            )
            found = json.loads(answer.stdout)
            if given.json:
                print(json.dumps(found), flush=True)
            else:
                held = ", ".join(f"{kind} {found[kind]:5.0f}" for kind in ("peak", "anonymous", "mapped"))
                print(f"{name:32} {found['seconds']:7.2f} s, cpu {found['cpu']:6.2f} s   MB: {held}", flush=True)


if __name__ == "__main__":
    main()
