"""A small IJB-C in the published layout, with generated images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

GALLERIES = ("G1", "G2")
UPRIGHT = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])


@dataclass(frozen=True)
class IjbSet:
    """What was written, as plain Python values: the lists, line by line."""

    folder: Path
    images: list[tuple[str, int, int]]
    points: list[list[float]]
    scores: list[float]
    pairs: list[tuple[int, int, int]]
    searches: dict[str, dict[int, int]]

    def file(self, name: str) -> Path:
        """One of the lists by the end of its name."""
        (found,) = (self.folder / "meta").glob(f"*{name}*")
        return found


def make_ijb(folder: Path, *, subjects: int = 6, probes: int = 4, prefix: str = "ijbc", seed: int = 0) -> IjbSet:
    """Per subject one template enrolled, half of them in each gallery, and ``probes`` others.

    Templates hold a still or two, some also two frames of a video; they and their images stand in no order.
    """
    generator = np.random.default_rng(seed)
    (folder / "meta").mkdir(parents=True)
    (folder / "loose_crop").mkdir()
    ids = iter(generator.permutation(np.arange(5, 5 + 3 * subjects * (probes + 1), 3)).tolist())
    enrolled = {next(ids): subject for subject in range(100, 100 + subjects)}
    probe_of = {next(ids): subject for subject in range(100, 100 + subjects) for _ in range(probes)}
    images: list[tuple[str, int, int]] = []
    for template in [*enrolled, *probe_of]:
        media = [1000 + number for number in range(1 + (template % 5 == 0))]
        media += [2000 + template] * (2 * (template % 8 == 0))
        images += [("", template, medium) for medium in media]
    order = generator.permutation(len(images)).tolist()
    images = [(f"{number}.jpg", *images[place][1:]) for number, place in enumerate(order, start=1)]
    patterns = {subject: generator.integers(0, 255, (6, 5, 3)) for subject in enrolled.values()}
    points, scores = [], []
    for name, template, _ in images:
        shows = (enrolled | probe_of)[template]
        points.append(write_image(folder / "loose_crop" / name, patterns[shows], generator))
        scores.append(round(float(generator.uniform(0.3, 1)), 6))
    pairs = [(a, b, int(enrolled[a] == probe_of[b])) for a in enrolled for b in probe_of]
    pairs = [pairs[place] for place in generator.permutation(len(pairs)).tolist()]
    half = 100 + (subjects + 1) // 2
    searches = {
        GALLERIES[0]: {template: subject for template, subject in enrolled.items() if subject < half},
        GALLERIES[1]: {template: subject for template, subject in enrolled.items() if subject >= half},
        "probe_mixed": probe_of,
    }
    made = IjbSet(folder, images, points, scores, pairs, searches)
    write_lists(made, prefix)
    return made


def write_lists(made: IjbSet, prefix: str = "ijbc") -> None:
    """All six files; the CSV files have a line for each image, as the published ones."""
    meta, of = made.folder / "meta", {template: name for name, template, _ in made.images}
    lines = [" ".join(map(str, image)) for image in made.images]
    (meta / f"{prefix}_face_tid_mid.txt").write_text("".join(f"{line}\n" for line in lines))
    lines = [
        " ".join([name, *(f"{value:.3f}" for value in points), f"{score:.6f}"])
        for (name, _, _), points, score in zip(made.images, made.points, made.scores, strict=True)
    ]
    (meta / f"{prefix}_name_5pts_score.txt").write_text("".join(f"{line}\n" for line in lines))
    lines = [" ".join(map(str, pair)) for pair in made.pairs]
    (meta / f"{prefix}_template_pair_label.txt").write_text("".join(f"{line}\n" for line in lines))
    sizes = {template: sum(each == template for _, each, _ in made.images) for template in of}
    for name, templates in made.searches.items():
        lines = [
            f"{template},{subject},img/{of[template]},{row}"
            for template, subject in templates.items()
            for row in range(sizes[template])
        ]
        kind = name if name == "probe_mixed" else f"gallery_{name}"
        head = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID"
        (meta / f"{prefix}_1N_{kind}.csv").write_text("".join(f"{line}\n" for line in [head, *lines]))


def write_image(path: Path, pattern: NDArray[np.int64], generator: np.random.Generator) -> list[float]:
    """Write a transformed image of the pattern; return its five points, x and y in turn."""
    angle, scale = generator.uniform(-0.5, 0.5), generator.uniform(0.6, 1.1)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array([70, 70]) - turn @ [56, 56] + generator.uniform(-8, 8, 2)
    own = generator.integers(0, 255, pattern.shape)
    face = cv2.resize((0.35 * pattern + 0.65 * own).astype(np.uint8), (112, 112), interpolation=cv2.INTER_NEAREST)
    size = (int(generator.integers(130, 150)), int(generator.integers(130, 150)))
    sample = cv2.warpAffine(face, np.column_stack([turn, shift]), size, borderMode=cv2.BORDER_REFLECT)
    noisy = np.clip(sample + generator.normal(0, 12, sample.shape), 0, 255).astype(np.uint8)
    done, content = cv2.imencode(".jpg", noisy)
    assert done
    path.write_bytes(content.tobytes())
    return [round(value, 3) for value in (UPRIGHT @ turn.T + shift).reshape(-1).tolist()]
