"""A gallery with enrolled people behind the application of the service."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tests.support.doors import Door, make_door
from tests.support.service_client import ServiceClient

from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.state import ServiceState

__all__ = ["NAMES", "Served", "jpeg_form", "make_enrolled", "png", "served"]

NAMES = ("ada", "Zoë", "木村")


def png(image: NDArray[np.uint8]) -> bytes:
    """Encoded image."""
    return bytes(cv2.imencode(".png", image[:, :, ::-1])[1].tobytes())


def jpeg_form(*images: bytes, field: str = "file") -> list[tuple[str, tuple[str, bytes, str]]]:
    """Files of a form."""
    return [(field, ("photo.png", image, "image/png")) for image in images]


def make_enrolled(folder: Path, **settings: Any) -> Door:
    """Create a gallery in which three people are enrolled with three images each."""
    door = make_door(folder, **settings)
    with door.open() as recognizer:
        for person, name in enumerate(NAMES):
            assert recognizer.enrol(name, door.photos(person, 0, 3), aligned=True).enrolled
    return door


@dataclass(frozen=True)
class Served:
    """A copy of a gallery with the state and a client of its service."""

    door: Door
    state: ServiceState
    client: ServiceClient

    def photo(self, person: int, number: int = 4) -> bytes:
        """Encoded image of an enrolled person that is not enrolled itself, or of one who is not enrolled (from 3)."""
        return png(self.door.photos(person)[number])

    def stranger(self, number: int = 0) -> bytes:
        """Encoded image of a stranger."""
        return png(self.door.strangers.images(np.array([number]))[0])

    def ids(self) -> dict[str, str]:
        """Ids of the enrolled people by name."""
        return {each["name"]: each["id"] for each in self.client.get("/v1/persons").json()["persons"]}


@contextmanager
def served(door: Door, folder: Path, token: str = "", **limits: Any) -> Iterator[Served]:
    """Serve a copy of a gallery in ``folder``."""
    shutil.copytree(door.folder, folder)
    state = ServiceState(folder, ServiceLimits(**{"rate": 1e6, "burst": 1e6, **limits}))
    copy = Door(folder, door.model, door.faces, door.strangers)
    with copy.open() as recognizer:
        state.open(recognizer)
        with ServiceClient(create_app(state), token) as client:
            yield Served(copy, state, client)
