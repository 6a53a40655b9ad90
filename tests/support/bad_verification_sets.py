"""Invalid input concerning verification sets; the expected errors are in ``messages.yaml``."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tests.support.bad_input import Case, Given, collector

__all__ = ["CASES"]

CASES: list[Case] = []
case = collector(CASES)


class _Dangerous:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch gotcha",)


def image(height: int = 112, width: int = 112) -> bytes:
    """A grey PNG."""
    return cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def evaluate(given: Given, content: bytes, *more: str) -> list[str]:
    """A model of the run on ``place/lfw.bin`` with this content."""
    path = given.place / "lfw.bin"
    path.write_bytes(content)
    return ["evaluate", str(given.run / "generic.safetensors"), "--faces", str(path), *more]


def pack(given: Given, pairs: str | None, dest: Path) -> list[str]:
    """Pack the pairs of a table, or of a list that is not there."""
    if pairs is None:
        return ["faces", "pack-pairs", str(given.faceset), str(given.place / "pairs.txt"), str(dest)]
    (given.place / "pairs.csv").write_text(pairs, encoding="utf-8")
    return ["faces", "pack-pairs", str(given.faceset), str(given.place / "pairs.csv"), str(dest)]


@case
def set_cut_short(given: Given) -> list[str]:
    return evaluate(given, pickle.dumps(([b"x" * 100, b"y" * 100], [True]), protocol=4)[:-20])


@case
def set_that_runs_code(given: Given) -> list[str]:
    return evaluate(given, pickle.dumps(([_Dangerous()], [True])))


@case
def set_beside_a_good_one(given: Given) -> list[str]:
    sets = given.place / "sets"
    sets.mkdir()
    (sets / "a.bin").write_bytes(pickle.dumps(([image()] * 2, [True])))
    (sets / "b.bin").write_bytes(b"\xff\xd8\xff\xe0")
    return ["evaluate", str(given.run / "generic.safetensors"), "--faces", str(sets)]


@case
def set_of_photographs(given: Given) -> list[str]:
    return evaluate(given, pickle.dumps(([image(80, 90)] * 2, [True])))


@case
def set_without_its_protocol(given: Given) -> list[str]:
    return evaluate(given, pickle.dumps(([image()] * 2, [True])), "--protocol", "generic-1:1")


@case
def set_for_a_run(given: Given) -> list[str]:
    return ["evaluate", str(given.run), "--protocol", "verification-set"]


@case
def protocol_without_its_set(given: Given) -> list[str]:
    model = str(given.run / "generic.safetensors")
    return ["evaluate", model, "--faces", str(given.faceset), "--protocol", "verification-set"]


@case
def pairs_over_a_file(given: Given) -> list[str]:
    (given.place / "lfw.bin").write_bytes(b"mine")
    return pack(given, "a,b\n", given.place / "lfw.bin")


@case
def pairs_without_the_ending(given: Given) -> list[str]:
    return pack(given, "a,b\n", given.place / "pairs.pkl")


@case
def pairs_of_strangers(given: Given) -> list[str]:
    return pack(given, "a,b\nnobody,nobody\n", given.place / "new.bin")


@case
def pairs_that_are_missing(given: Given) -> list[str]:
    return pack(given, None, given.place / "new.bin")
