"""Embedding spaces of a gallery: the active one, calibrations, strangers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.recognition.gallery.gallery_types import StrangerFeatures, TrainedPeople
from fedfr.recognition.gallery.record_places import block_place, calibration_place, strangers_of, templates_of
from fedfr.recognition.gallery.store import GalleryStore, unit_features

__all__ = ["STRANGER_KINDS", "GallerySpaces", "StrangerKind"]

StrangerKind: TypeAlias = Literal["strangers", "cohort"]
STRANGER_KINDS: tuple[StrangerKind, ...] = ("strangers", "cohort")

# Rows of features in one sealed block; bytes of other content.
_BLOCK, _BYTES = 256, 1 << 16
_TRAINED = "trained"
_LONGEST_SPACE = 200


class GallerySpaces(GalleryStore):
    """Spaces side by side, of which one is active: probes are compared in it."""

    @property
    def active_space(self) -> str | None:
        """Id of the active space; None in a new gallery."""
        with self.read():
            return self.state.active

    def spaces(self) -> dict[str, int]:
        """Return the feature length of every space by its id."""
        with self.read():
            return dict(self.state.dims)

    def switch(self, space: str, dim: int | None = None) -> None:
        """Make ``space`` the active one; ``dim`` is needed for a space that has no features yet."""
        with self.change():
            self._space(space, dim)
            self.state.active = space

    def seal_model(self, space: str, file: Path) -> None:
        """Note the content of the model's file of a space, within a change."""
        with self.change():
            self.state.models[space] = _sha256(file)

    def is_sealed_model(self, space: str, file: Path) -> bool:
        """Return whether a file is the model noted for a space; True if none is noted."""
        with self.read():
            noted = self.state.models.get(space)
        return noted is None or noted == _sha256(file)

    def drop_space(self, space: str) -> None:
        """Remove features, templates, calibration and strangers of a space that is not active.

        Photos of which neither a feature nor a crop is left are removed, too.
        """
        with self.change():
            if space == self.state.active:
                raise FedfrError(f"the space {space} of {self.folder} is active; switch to another one first")
            where = self._space(space)
            for table in ("features", "templates", "calibrations", "blocks"):
                if table == "calibrations":
                    self._toggle(table, self._calibration_rows(where))
                self.database.run(f"DELETE FROM {table} WHERE space = ?", (where,))
            self.state.digests.pop(templates_of(space), None)
            for kind in (*STRANGER_KINDS, _TRAINED):
                self.state.digests.pop(strangers_of(kind, space), None)
            self._remove_empty_photos()
            self.state.models.pop(space, None)
            del self.state.dims[space]
            self.database.run("DELETE FROM spaces WHERE number = ?", (where,))
            self.database.mark_cleanup()

    def set_calibration(self, space: str, calibration: Mapping[str, Any] | None) -> None:
        """Store the calibration of a space as JSON values, or remove it."""
        with self.change():
            where = self._space(space)
            self._toggle("calibrations", self._calibration_rows(where))
            self.database.run("DELETE FROM calibrations WHERE space = ?", (where,))
            if calibration is None:
                return
            row = self._next_row()
            sealed = self.key.cipher("rows").seal_json(dict(calibration), calibration_place(row, space))
            self.database.run("INSERT INTO calibrations VALUES (?, ?, ?)", (row, where, sealed))
            self._toggle("calibrations", [(row, sealed)])

    def calibration(self, space: str | None = None) -> dict[str, Any] | None:
        """Return the calibration of a space (by default the active one), or None."""
        with self.read():
            name = self._named(space)
            where = self._space(name)
            found: dict[str, Any] | None = None
            for row, sealed in self._calibration_rows(where):
                found = self.key.cipher("rows").open_json(sealed, calibration_place(row, name))
            digest = self._digest("calibrations")
            for row, sealed in self.database.rows("SELECT row, sealed FROM calibrations"):
                digest.toggle(row, sealed)
            self.state.check(digest, "calibrations", self.folder)
        return found

    def set_strangers(
        self, space: str, features: NDArray[np.float32], digest: str, kind: StrangerKind = "strangers"
    ) -> None:
        """Store unit features (S, D), one of each stranger, in a space; they replace those of the same kind.

        ``digest`` says of which images they are. ``kind``: strangers to calibrate with, or the cohort of a score
        normalization.
        """
        with self.change():
            given = unit_features(features, self.state.dims.get(space), f"the features of {kind}")
            self._space(space, given.shape[1])
            blocks = (given[start : start + _BLOCK].tobytes() for start in range(0, len(given), _BLOCK))
            self._set_blocks(space, kind, [digest.encode(), *blocks])

    def strangers(self, space: str | None = None, kind: StrangerKind = "strangers") -> StrangerFeatures | None:
        """Return the stored features of strangers in a space (by default the active one), or None."""
        with self.read():
            name = self._named(space)
            contents, dim = self._blocks(name, kind), self.state.dims[name]
        if not contents:
            return None
        features = np.frombuffer(b"".join(contents[1:]), np.float32).reshape(-1, dim)
        return StrangerFeatures(features, contents[0].decode())

    def set_trained(self, space: str, trained: TrainedPeople) -> None:
        """Store the hashes of the people on whom the model of a space was trained; they replace those of before."""
        content = trained.images.tobytes() + trained.names.tobytes()
        blocks = (content[start : start + _BYTES] for start in range(0, len(content), _BYTES))
        with self.change():
            self._set_blocks(space, _TRAINED, [str(len(trained.images)).encode(), *blocks])

    def trained(self, space: str | None = None) -> TrainedPeople | None:
        """Return the hashes of the people on whom the model of a space (by default the active one) was trained.

        None if they are not known.
        """
        with self.read():
            contents = self._blocks(self._named(space), _TRAINED)
        if not contents:
            return None
        rows, images = np.frombuffer(b"".join(contents[1:]), np.uint8), int(contents[0])
        return TrainedPeople(rows[: images * 32].reshape(-1, 32), rows[images * 32 :].reshape(-1, 8))

    def trained_images(self, space: str | None = None) -> int | None:
        """Return the number of images of :meth:`trained`, without reading their hashes; None if it is not known."""
        with self.read():
            name = self._named(space)
            for row, sealed in self.database.rows(
                "SELECT row, sealed FROM blocks WHERE space = ? AND kind = ? AND number = 0",
                (self._space(name), _TRAINED),
            ):
                return int(self.key.cipher("rows").open(sealed, block_place(row, _TRAINED, 0, name)))
        return None

    def _set_blocks(self, space: str, kind: str, contents: Iterable[bytes]) -> None:
        """Seal the blocks of a kind in a space, in place of those of before."""
        where, group, cipher = self._space(space), strangers_of(kind, space), self.key.cipher("rows")
        self.database.run("DELETE FROM blocks WHERE space = ? AND kind = ?", (where, kind))
        self.state.digests.pop(group, None)
        for number, content in enumerate(contents):
            row = self._next_row()
            sealed = cipher.seal(content, block_place(row, kind, number, space))
            self.database.run("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)", (row, where, kind, number, sealed))
            self._toggle(group, [(row, sealed)])

    def _blocks(self, space: str, kind: str) -> list[bytes]:
        """Return the blocks of a kind in a space; raises :class:`FedfrError` if they were changed."""
        where, group = self._space(space), strangers_of(kind, space)
        check, contents = self._digest(group), []
        for row, number, sealed in self.database.each(
            "SELECT row, number, sealed FROM blocks WHERE space = ? AND kind = ? ORDER BY number", (where, kind)
        ):
            check.toggle(row, sealed)
            contents.append(self.key.cipher("rows").open(sealed, block_place(row, kind, number, space)))
        self.state.check(check, group, self.folder)
        return contents

    def _calibration_rows(self, where: int) -> list[tuple[int, bytes]]:
        return [
            (row, sealed)
            for row, sealed in self.database.rows("SELECT row, sealed FROM calibrations WHERE space = ?", (where,))
        ]

    def _named(self, space: str | None) -> str:
        """Return the id of a space, by default of the active one."""
        name = self.state.active if space is None else space
        if name is None:
            raise FedfrError(f"the gallery {self.folder} has no model yet; create it again with one")
        return name

    def _space(self, space: str, dim: int | None = None) -> int:
        """Return the number of a space; with ``dim``, a new space is added."""
        if space in self.state.dims:
            found = self.database.rows("SELECT number FROM spaces WHERE id = ?", (space,))
            if not found:
                raise FedfrError(f"{self.folder}: the space {space} was removed by another program; restore a copy")
            return int(found[0][0])
        if dim is None:
            known = ", ".join(self.state.dims) or "none"
            raise FedfrError(f"{self.folder} has no space {space!r}; it has {known}; rebuild it for another model")
        if not space or len(space) > _LONGEST_SPACE or not space.isprintable():
            raise FedfrError(f"the space {space[:_LONGEST_SPACE]!r} is not an id; give that of a model")
        number = self._next_row()
        self.database.run("INSERT INTO spaces VALUES (?, ?)", (number, space))
        self.state.dims[space] = dim
        return number

    def _remove_empty_photos(self) -> None:
        """Remove photos without feature and crop; overridden where photos are known."""


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
