"""Share of faults planted in real faces that ``fedfr faces audit`` finds, and its false reports.

Run: ``python benchmarks/audit.py FACES [--model MODEL] [--count 500]``; FACES is an imported set with colours and
aligned crops, such as LFW. Prints a Markdown table. Some minutes with a model, most of them for the features.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.audit import Finding
from fedfr.audit.face_audit import features_of, load_generic
from fedfr.audit.image_checks import audit_images
from fedfr.audit.label_checks import IdentityTemplates
from fedfr.audit.measures import measure_images
from fedfr.audit.near_duplicates import MIN_CORRELATION, pair_correlations
from fedfr.faces import FaceSet
from fedfr.reporting.progress import Silent
from harness import sleeping_threads

Image = NDArray[np.uint8]
Change = Callable[[Image, np.random.Generator], Image]
Row = tuple[str, str, str]

GROUP = 300
GROUPS = 20


def jpeg(image: Image, quality: int) -> Image:
    """Return the image encoded as JPEG and decoded again."""
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def scaled(image: Image, factor: float, offset: float = 0) -> Image:
    """Return the grey levels multiplied by ``factor`` plus ``offset``."""
    return (image.astype(np.float64) * factor + offset).clip(0, 255).astype(np.uint8)


def moved(image: Image, right: float, down: float, size: float = 1, turn: float = 0) -> Image:
    """Return the image shifted by pixels, enlarged and rotated by degrees around the nose."""
    matrix = np.asarray(cv2.getRotationMatrix2D((56, 72), turn, size), np.float64)
    matrix[:, 2] += (right, down)
    return np.asarray(cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def reduced(image: Image, side: int) -> Image:
    """Return the image reduced and enlarged again."""
    reduced = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(reduced, (112, 112), interpolation=cv2.INTER_LINEAR), np.uint8)


COPIES: dict[str, Change] = {
    "JPEG at quality 90": lambda image, _: jpeg(image, 90),
    "JPEG at quality 50": lambda image, _: jpeg(image, 50),
    "JPEG at quality 20": lambda image, _: jpeg(image, 20),
    "20 grey levels brighter": lambda image, _: scaled(image, 1, 20),
    "30 grey levels darker": lambda image, _: scaled(image, 1, -30),
    "0.7 times as bright": lambda image, _: scaled(image, 0.7),
    "1.2 times as bright": lambda image, _: scaled(image, 1.2),
    "grey": lambda image, _: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2),
    "half the resolution": lambda image, _: reduced(image, 56),
    "mirrored": lambda image, _: image[:, ::-1].copy(),
    "mirrored, JPEG 50, 10 brighter": lambda image, _: scaled(jpeg(image[:, ::-1].copy(), 50), 1, 10),
    "half a pixel right and down": lambda image, _: moved(image, 0.5, 0.5),
    "a pixel right and down": lambda image, _: moved(image, 1, 1),
    "two pixels right and down": lambda image, _: moved(image, 2, 2),
}
BLURS: dict[str, Change] = {
    "Gaussian blur, 2 pixels": lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8),
    "Gaussian blur, 3 pixels": lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), 3), np.uint8),
    "Gaussian blur, 4 pixels": lambda image, _: np.asarray(cv2.GaussianBlur(image, (0, 0), 4), np.uint8),
    "enlarged from 20 pixels": lambda image, _: reduced(image, 20),
    "enlarged from 14 pixels": lambda image, _: reduced(image, 14),
}
SETS: dict[str, tuple[str, Change]] = {
    "all BGR": ("colour-order", lambda image, _: image[:, :, ::-1].copy()),
    "a tenth BGR": ("colour-order", lambda image, draw: image[:, :, ::-1].copy() if draw.random() < 0.1 else image),
    "4 pixels lower": ("crop", lambda image, _: moved(image, 0, 4)),
    "6 pixels to the right": ("crop", lambda image, _: moved(image, 6, 0)),
    "0.8 times the size (looser crop)": ("crop", lambda image, _: moved(image, 0, 0, 0.8)),
    "1.2 times the size (tighter crop)": ("crop", lambda image, _: moved(image, 0, 0, 1.2)),
    "scattered by 5 pixels": ("crop", lambda image, draw: moved(image, *draw.normal(0, 5, 2))),
    "turned by 20 degrees at random": ("crop", lambda image, draw: moved(image, 0, 0, 1, draw.normal(0, 20))),
    "untouched, colour": ("colour-order", lambda image, _: image),
    "untouched, crop": ("crop", lambda image, _: image),
}


def tight(image: Image, draw: np.random.Generator, border: int) -> Image:
    """Return the aligned image of a tilted photograph that shows little more than the face."""
    turn, wide, high = draw.normal(0, 15), draw.uniform(34, 44), draw.uniform(40, 50)
    there = np.asarray(cv2.getRotationMatrix2D((56, 70), turn, 1), np.float64)
    back = np.asarray(cv2.getRotationMatrix2D((56, 70), -turn, 1), np.float64)
    left, top = int(56 - wide), int(70 - high)
    photograph = cv2.warpAffine(image, there, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    photograph = photograph[max(top, 0) : int(70 + high), max(left, 0) : int(56 + wide)]
    back[:, 2] += back[:, :2] @ (max(left, 0), max(top, 0))
    return np.asarray(cv2.warpAffine(photograph, back, (112, 112), borderMode=border), np.uint8)


TIGHT: dict[str, Change] = {
    "black outside": lambda image, draw: tight(image, draw, cv2.BORDER_CONSTANT),
    "black outside, JPEG 75": lambda image, draw: jpeg(tight(image, draw, cv2.BORDER_CONSTANT), 75),
    "edges repeated outside": lambda image, draw: tight(image, draw, cv2.BORDER_REPLICATE),
}


def changed(images: Image, change: Change) -> FaceSet:
    """Return the changed images, each as its own identity."""
    draw = np.random.default_rng(0)
    pixels = np.stack([change(np.ascontiguousarray(image), draw) for image in images])
    return FaceSet(pixels, np.arange(len(pixels)), [str(number) for number in range(len(pixels))])


def share(found: int, total: int) -> str:
    """Format a count with its percentage."""
    return f"{found} of {total} ({100 * found / total:.1f} %)"


def count(findings: tuple[Finding, ...], kind: str) -> int:
    """Return the number of cases of a kind."""
    return sum(len(found.cases) for found in findings if found.kind == kind)


def image_rows(faces: FaceSet, wanted: int) -> Iterator[Row]:
    """Measure copies and blurred versions of single images."""
    chosen = np.sort(np.random.default_rng(0).choice(len(faces), wanted, replace=False))
    images = faces.images(chosen)
    groups = np.zeros(wanted, np.int64)
    plain = measure_images(changed(images, lambda image, _: image), groups, 1).thumbnails
    for name, change in COPIES.items():
        copies = measure_images(changed(images, change), groups, 1).thumbnails
        alike = np.diagonal(pair_correlations(np.concatenate([plain, copies])), wanted)
        yield "near-duplicates", f"copy: {name}", share(int((alike >= MIN_CORRELATION).sum()), wanted)
    for name, change in BLURS.items():
        yield "blurred", name, share(count(audit_images(changed(images, change)), "blurred"), wanted)


def set_rows(faces: FaceSet) -> Iterator[Row]:
    """Measure sets of some hundred images that were all prepared in the same wrong way."""
    for name, (kind, change) in SETS.items():
        found = 0
        for seed in range(GROUPS):
            chosen = np.sort(np.random.default_rng(seed).choice(len(faces), GROUP, replace=False))
            found += count(audit_images(changed(faces.images(chosen), change)), kind) > 0
        yield kind, f"sets of {GROUP}: {name}", share(found, GROUPS)


def tight_rows(faces: FaceSet) -> Iterator[Row]:
    """Measure photographs that are hardly larger than the face: pairs of different people, and copies."""
    images = faces.images(faces.by_identity().of(np.arange(faces.num_identities), last=1))
    for name, change in TIGHT.items():
        found = audit_images(changed(images, change))
        cases = [case for each in found if each.kind == "image-of-two-people" for case in each.cases]
        wrong = f"{len(cases)} groups with {sum(len(case.images) for case in cases)} of {len(images)}"
        yield "image-of-two-people", f"tight crops, one of each person: {name}", wrong
        some = np.concatenate([changed(images[:500], change).images(range(500))] * 2)
        for row in range(500, 1000):
            some[row] = jpeg(some[row][:, ::-1].copy(), 50)
        found = audit_images(changed(some, lambda image, _: image))
        there = {name for each in found if each.kind == "image-of-two-people" for c in each.cases for name in c.images}
        yield "image-of-two-people", f"the same with a mirrored copy, JPEG 50: {name}", share(len(there), 1000)


def people_rows(faces: FaceSet, model: Path, wanted: int) -> Iterator[Row]:
    """Measure identities that are in the set twice, and images moved to other identities."""
    features = features_of(faces, *load_generic(model), Silent())
    people, counts = IdentityTemplates(features, faces.labels), faces.counts()
    pairs = faces.num_identities * (faces.num_identities - 1) // 2
    yield "same-person", "untouched: pairs of identities", f"{len(list(people.similar_identities()))} of {pairs}"
    untouched = {stray.image for stray in people.mislabelled_images()}
    yield "mislabelled", "untouched: images", share(len(untouched), int(counts[counts > 1].sum()))
    yield "same-person", "every identity of two or more images cut in two halves", share(*people.split_half_matches())
    for least, most in ((2, 2), (3, 4), (5, 9), (10, int(counts.max()))):
        some = np.flatnonzero((counts >= least) & (counts <= most))
        yield "same-person", f"those of {least} to {most} images", share(*people.split_half_matches(some))
    draw = np.random.default_rng(0)
    labels = faces.labels.copy()
    several = np.flatnonzero(counts >= 3)
    put = draw.choice(np.flatnonzero(np.isin(labels, several)), wanted, replace=False)
    labels[put] = (labels[put] + draw.integers(1, faces.num_identities, wanted)) % faces.num_identities
    kept, compact = np.unique(labels, return_inverse=True)
    mislabelled_images = list(IdentityTemplates(features, compact).mislabelled_images())
    moved_away = set(put.tolist())
    right = sum(
        kept[each.nearest] == faces.labels[each.image] for each in mislabelled_images if each.image in moved_away
    )
    new = [each.image for each in mislabelled_images if each.image not in moved_away | untouched]
    beside = int(np.isin(labels[new], labels[put]).sum())
    others = f"{len(new)} others, {beside} of them the right images of these identities"
    yield "mislabelled", "an image put under any other identity", f"{share(right, wanted)}; {others}"


def main() -> None:
    """Print the table."""
    sleeping_threads()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--tight", action="store_true", help="only tight crops")
    given = parser.parse_args()
    faces = FaceSet.load(given.faces)
    rows = (
        [*tight_rows(faces)] if given.tight else [*image_rows(faces, given.count), *set_rows(faces), *tight_rows(faces)]
    )
    if given.model is not None:
        rows += people_rows(faces, given.model, given.count)
    print("| finding | planted | found |\n|---|---|---|")
    print("\n".join(f"| `{kind}` | {planted} | {found} |" for kind, planted, found in rows))


if __name__ == "__main__":
    main()
