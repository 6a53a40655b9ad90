"""Sets of picture pairs to verify as InsightFace ships them, ``lfw.bin``, ``cfp_fp.bin`` and others."""

from __future__ import annotations

import csv
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.importers.folder import SUFFIXES
from fedfr.faces.pairs import read_pairs
from fedfr.faces.pickles import read_plain_pickle
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.recordio.pixels import decode_picture
from fedfr.files import write_atomically

__all__ = ["PairPictures", "VerificationSet", "pack_pairs", "read_verification_set", "verification_sets"]

SUFFIX = ".bin"


class PairPictures:
    """A source of pixels over compressed pictures in memory, decoded when asked for; all must be 112x112."""

    def __init__(self, pictures: Sequence[bytes], path: Path) -> None:
        self._pictures = pictures
        self._path = path

    @property
    def dtype(self) -> np.dtype[Any]:
        """Always uint8."""
        return np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(M, 112, 112, 3)."""
        return (len(self), *IMAGE_SHAPE)

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, rows: NDArray[np.int64], /) -> NDArray[np.uint8]:
        """Decode some rows, (n, 112, 112, 3) RGB; raises :class:`FedfrError` naming the picture that is none."""
        pixels = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
        for place, row in enumerate(rows.tolist()):
            try:
                image = decode_picture(self._pictures[row])
            except ValueError as error:
                raise FedfrError(f"{self._path}: picture {row} of pair {row // 2} {error}; fetch it again") from error
            if image.shape != IMAGE_SHAPE:
                raise FedfrError(
                    f"{self._path}: picture {row} of pair {row // 2} is {image.shape[1]}x{image.shape[0]}; expected "
                    "aligned faces of 112x112, which cannot be made by resizing: align them first"
                )
            pixels[place] = image
        return pixels


@dataclass(frozen=True)
class VerificationSet:
    """``pictures`` holds 2·P compressed pictures, pair k is 2k and 2k+1; ``same`` (P,) says which show one person."""

    path: Path
    pictures: tuple[bytes, ...]
    same: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """``lfw`` of ``lfw.bin``."""
        return self.path.stem

    def faces(self) -> FaceSet:
        """All pictures in order as a set of faces, decoded when asked for; who is shown is not known."""
        return FaceSet(PairPictures(self.pictures, self.path), np.zeros(len(self.pictures), np.int64), ["somebody"])

    def distinct(self) -> tuple[FaceSet, NDArray[np.int64]]:
        """:meth:`faces` with each picture once, and for each of the 2·P where in it the picture is."""
        first: dict[bytes, int] = {}
        rows = [row for row, picture in enumerate(self.pictures) if first.setdefault(picture, row) == row]
        place = {row: number for number, row in enumerate(rows)}
        where = [place[first[picture]] for picture in self.pictures]
        return self.faces().subset(rows), np.asarray(where, np.int64)


def verification_sets(path: Path) -> list[Path]:
    """The ``.bin`` files that ``path`` means: itself, or those in a folder by name; none where it is something else."""
    if path.suffix == SUFFIX and not path.is_dir():
        return [path]
    return sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else []


def read_verification_set(path: str | os.PathLike[str]) -> VerificationSet:
    """Read a ``.bin``: one pickle of ``(pictures, same)``, by Python 2 or 3; no code in it is run.

    Raises :class:`FedfrError` for anything else, and when it is cut short.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; give a file such as lfw.bin") from error
    try:
        found = read_plain_pickle(content)
    except ValueError as error:
        raise FedfrError(f"{path} is no whole set of verification pairs ({error}); fetch it again") from error
    if not isinstance(found, tuple | list) or len(found) != 2 or not all(isinstance(part, list) for part in found):
        raise FedfrError(f"{path} holds no two lists, pictures and truth values; give a file such as lfw.bin")
    pictures, same = found
    for row, picture in enumerate(pictures):
        if not isinstance(picture, bytes) and not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8):
            raise FedfrError(f"{path}: picture {row} is {type(picture).__name__}, not compressed bytes; fetch it again")
    for number, value in enumerate(same):
        if value not in (True, False) or not isinstance(value, bool | int):
            raise FedfrError(f"{path}: pair {number} is marked {str(value)[:20]!r}; expected true or false")
    if len(pictures) != 2 * len(same) or not same:
        raise FedfrError(
            f"{path} holds {len(pictures)} pictures for {len(same)} pairs; expected two for each, and one pair at least"
        )
    return VerificationSet(path, tuple(map(_bytes, pictures)), np.array(same, np.bool_))


def _bytes(picture: bytes | NDArray[np.uint8]) -> bytes:
    return picture if isinstance(picture, bytes) else picture.tobytes()


def pack_pairs(faces: FaceSet, pairs: str | os.PathLike[str], dest: Path, originals: Path | None = None) -> int:
    """Write the pairs of ``faces`` that a list names as a ``.bin``; returns their number.

    ``pairs`` is a list like LFW's ``pairs.txt``, or a CSV with the columns ``a``, ``b`` – names of images with or
    without ending – and, if it likes, ``same``. Pictures are the files below ``originals`` as they lie, else what the
    set itself decodes, else PNG. Raises :class:`FedfrError` for a list that does not fit, and where ``dest`` exists.
    """
    if dest.exists():
        raise FedfrError(f"{dest} exists already; choose another name or remove it")
    table = Path(pairs).suffix.lower() == ".csv"
    found = _csv_pairs(Path(pairs), faces) if table else read_pairs(pairs, faces)
    if not found:
        raise FedfrError(f"{pairs} holds 0 pairs; list one at least")
    pictures = [_picture(faces, index, originals) for pair in found for index in pair]
    same = [bool(faces.labels[a] == faces.labels[b]) for a, b in found]
    write_atomically(dest, pickle.dumps((pictures, same), protocol=4))
    return len(same)


def _picture(faces: FaceSet, index: int, originals: Path | None) -> bytes:
    if originals is not None:
        try:
            return (originals / faces.names[index]).read_bytes()
        except OSError as error:
            raise FedfrError(f"cannot read {originals / faces.names[index]}: {error.strerror or error}") from error
    kept = faces.encoded(index)
    if kept is not None:
        return kept
    done, content = cv2.imencode(".png", np.ascontiguousarray(faces.images([index])[0][:, :, ::-1]))
    if not done:
        raise FedfrError("OpenCV could not encode a picture as PNG; install its usual build")
    return content.tobytes()


def _csv_pairs(path: Path, faces: FaceSet) -> list[tuple[int, int]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_csv_lines(csv.DictReader(file), path, faces))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FedfrError(f"cannot read the pairs {path} ({reason}); give a CSV with the columns a, b, same") from error


def _csv_lines(lines: Iterable[dict[str, str]], path: Path, faces: FaceSet) -> Iterator[tuple[int, int]]:
    known = {name: index for index, name in enumerate(faces.names)}
    known |= {name.removesuffix(Path(name).suffix): at for name, at in known.items() if name.lower().endswith(SUFFIXES)}
    truths = {"1": True, "true": True, "0": False, "false": False}
    for number, line in enumerate(lines, start=2):
        names = line.get("a"), line.get("b")
        for name in names:
            if name not in known:
                raise FedfrError(f"{path}, line {number}: image {name!r} is not among these faces; name one in a and b")
        pair = known[str(names[0])], known[str(names[1])]
        told = line.get("same")
        truth = bool(faces.labels[pair[0]] == faces.labels[pair[1]])
        if told and truths.get(told.strip().lower()) != truth:
            raise FedfrError(
                f"{path}, line {number}: same = {told!r}, but the faces say {str(truth).lower()}; correct one of them"
            )
        yield pair
