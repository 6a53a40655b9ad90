"""Splits: manifests that assign the images of a face set to parts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.client_ids import check_client_ids
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.faces.array_columns import ImageIndices
from fedfr.faces.exclusions import OmittedImage
from fedfr.faces.faceset import FaceSet
from fedfr.faces.index_ranges import format_ranges, parse_ranges
from fedfr.faces.joined_pixels import SetPart
from fedfr.faces.splits.split_parts import STRANGERS, UNSEEN, ClientFaces, SplitParts, labels_of

__all__ = ["ClientFaces", "Split"]

FORMAT = "fedfr-split"
VERSION = 1


@dataclass(frozen=True, repr=False)
class Split:
    """Image indices into one :class:`FaceSet`, by part.

    ``public`` images are known to all clients; ``clients`` maps a client id to its private images; ``generic`` images
    show identities that are not used for training; ``distractors`` are further non-mated probes and may overlap
    ``generic``; ``pairs`` are pairs of images of unseen people to verify; ``strangers`` show further identities, with
    which thresholds are calibrated: they are neither trained on nor tested with. ``identities`` names the identities of
    each part, ``settings`` records the settings of the recipe. ``left_out`` are the omitted images with the reason, and
    ``lost_identities`` the identities without any remaining image. ``sets`` are the face sets of which the faces are
    combined, each with its images; empty for a single set. Indices may be any sequence or array; they are stored as
    arrays.

    >>> import numpy as np
    >>> from fedfr import FaceSet, make_split
    >>> pixels = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), np.uint8)
    >>> faces = FaceSet(pixels, np.repeat(np.arange(8), 4), [f"person-{number}" for number in range(8)])
    >>> split = make_split(faces, "general", public_identities=4, clients=2, identities_per_client=2)
    >>> split.name, len(split.public), sorted(split.clients)
    ('general', 16, ['client-01', 'client-02'])
    >>> split.check(faces)  # raises an error if an image is in two parts
    """

    name: str
    seed: int
    faces_fingerprint: str
    public: Sequence[int]
    clients: Mapping[str, ClientFaces]
    generic: Sequence[int]
    distractors: Sequence[int]
    pairs: tuple[tuple[int, int], ...] = ()
    identities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[OmittedImage, ...] = ()
    lost_identities: tuple[str, ...] = ()
    sets: tuple[SetPart, ...] = ()
    strangers: Sequence[int] = ()

    def __post_init__(self) -> None:
        # A client id is also the name of a folder.
        check_client_ids(self.clients, f"client of split {self.name!r}")
        for part in ("public", "generic", "distractors", STRANGERS):
            object.__setattr__(self, part, ImageIndices(getattr(self, part)))

    def __repr__(self) -> str:
        public, unseen, clients = len(self.public), len(self.generic), len(self.clients)
        return f"Split({self.name!r}, {clients} clients, {public} public and {unseen} unseen images, seed {self.seed})"

    def parts(self) -> dict[str, Sequence[int]]:
        """Return the lists of images by name: ``public``, ``client-01 train``, …, ``strangers`` if there are any."""
        return self._parts().lists()

    def describe(self, faces: FaceSet) -> Split:
        """Return this split with ``sets`` and ``identities`` of ``faces``: names by part in the order of labels."""
        groups = {"public": self.public, "generic": self.generic, "distractors": self.distractors}
        groups[STRANGERS] = self.strangers
        groups |= {client: ImageIndices(images.all()) for client, images in self.clients.items()}
        return replace(
            self,
            sets=faces.sets,
            identities={
                part: tuple(faces.identities[label] for label in labels_of(faces, images).tolist())
                for part, images in groups.items()
                if len(images)
            },
        )

    def check(self, faces: FaceSet) -> None:
        """Check that the split fits ``faces`` and no part leaks into another.

        Raises :class:`FedfrError` naming the part and the image or identity for: a split of other faces; an index out
        of range; an image used twice (``generic`` and ``distractors`` may share images); a client without training
        images; a tested identity that its client does not train on; an identity, or two whose names look the same, in
        two of public, each client, the unseen identities and the strangers; the same pixels in two parts or in a
        client's training and test; a pair with an image of a person who is public, a client's or a stranger; with
        several face sets, a public image of another set than the public one, a client's of another than a private one,
        or a stranger's of a private one.
        """
        self.check_faces(faces)
        self._check_pairs(faces)
        # People in pairs are unseen like the generic ones.
        unseen = ImageIndices(np.union1d(np.asarray(self.generic, np.int64), self.pair_images()))
        parts = replace(self._parts(), generic=unseen)
        parts.check_roles(faces, str(self.settings.get("public_from", "public")))
        parts.check_clients(faces)
        parts.check_identities(faces)
        parts.check_pixels(faces)

    def pair_images(self) -> NDArray[np.int64]:
        """Return the images of ``pairs``, ascending."""
        return np.unique(np.asarray(self.pairs, np.int64))

    def _check_pairs(self, faces: FaceSet) -> None:
        images = self.pair_images()
        outside = images[(images < 0) | (images >= len(faces))]
        if len(outside):
            raise FedfrError(
                f"a pair of the split uses image {outside[0]}; these faces have 0 … {len(faces) - 1}; remove the pair"
            )
        for owner, own in self._parts().owners().items():
            seen = images[np.isin(faces.labels[images], labels_of(faces, own))]
            if len(seen) and owner != UNSEEN:
                use = "thresholds are calibrated with" if owner == STRANGERS else "models are trained on"
                raise FedfrError(
                    f"a pair of the split uses image {seen[0]}, of a person of {owner}, whom {use}; remove the pair"
                )

    def check_faces(self, faces: FaceSet) -> None:
        """Check only that the split was made for ``faces`` and that every index is in range and used once."""
        self._check_sets(faces)
        if self.faces_fingerprint != faces.fingerprint():
            raise FedfrError(
                f"split {self.name!r} was made for faces {self.faces_fingerprint[:12]}, "
                f"these are {faces.fingerprint()[:12]}; split these faces again"
            )
        self._parts().check_images(faces)

    def _check_sets(self, faces: FaceSet) -> None:
        """Raise :class:`FedfrError` naming the first face set that differs from that of the split."""
        present = {part.name: part for part in faces.sets}
        if not self.sets or not present:
            return
        if set(present) != {part.name for part in self.sets}:
            wanted, found = (", ".join(part.name for part in parts) for parts in (self.sets, faces.sets))
            raise FedfrError(f"split {self.name!r} was made for the face sets {wanted}, these are {found}; split again")
        for part in self.sets:
            other = present[part.name]
            if part.fingerprint != other.fingerprint:
                raise FedfrError(
                    f"split {self.name!r} was made for a face set {part.name!r} with fingerprint "
                    f"{part.fingerprint[:12]}, this one has {other.fingerprint[:12]}; split these faces again"
                )
            if part != other:
                raise FedfrError(
                    f"split {self.name!r} was made with another role or other identities left out of face set "
                    f"{part.name!r}; use the same settings of faces, or split again"
                )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the manifest as JSON, atomically; images are ranges such as ``"0-9,14"``, identities are names."""

        def part(name: str, images: Sequence[int]) -> dict[str, Any]:
            return {"identities": list(self.identities.get(name, ())), "images": format_ranges(images)}

        write_json(
            Path(path),
            {
                "format": FORMAT,
                "version": VERSION,
                "name": self.name,
                "seed": self.seed,
                "settings": dict(self.settings),
                "faces_fingerprint": self.faces_fingerprint,
                "clients": {
                    client: {
                        "identities": list(self.identities.get(client, ())),
                        "train": format_ranges(images.train),
                        "test": format_ranges(images.test),
                        **({"elsewhere": True} if images.elsewhere else {}),
                    }
                    for client, images in self.clients.items()
                },
                "public": part("public", self.public),
                "generic": part("generic", self.generic),
                "distractors": part("distractors", self.distractors),
                **({STRANGERS: part(STRANGERS, self.strangers)} if len(self.strangers) else {}),
                "pairs": " ".join(f"{first}:{second}" for first, second in self.pairs),
                **({"sets": [part.to_dict() for part in self.sets]} if self.sets else {}),
                **({"left_out": [asdict(each) for each in self.left_out]} if self.left_out else {}),
                **({"lost_identities": list(self.lost_identities)} if self.lost_identities else {}),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Split:
        """Read a manifest; raises :class:`FedfrError` if it is missing, truncated or not a split."""
        content = read_json(Path(path))
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise FedfrError(f"{path} is not a split; give a file written by `fedfr faces split`")
        if content.get("version") != VERSION:
            raise FedfrError(f"{path} has version {content.get('version')!r}, expected {VERSION}; split again")
        try:
            groups = {name: content[name] for name in ("public", "generic", "distractors")}
            # Absent from splits without strangers.
            groups[STRANGERS] = content.get(STRANGERS, {"identities": [], "images": ""})
            clients = dict(content["clients"])
            identities = {name: tuple(map(str, part["identities"])) for name, part in (groups | clients).items()}
            check_client_ids(clients, f"{path}: client")
            return cls(
                name=str(content["name"]),
                seed=int(content["seed"]),
                faces_fingerprint=str(content["faces_fingerprint"]),
                public=_images(groups["public"]["images"]),
                clients={
                    client: ClientFaces(
                        _images(part["train"]), _images(part["test"]), bool(part.get("elsewhere", False))
                    )
                    for client, part in clients.items()
                },
                generic=_images(groups["generic"]["images"]),
                distractors=_images(groups["distractors"]["images"]),
                strangers=_images(groups[STRANGERS]["images"]),
                pairs=_to_pairs(content.get("pairs", "")),
                identities={name: names for name, names in identities.items() if names},
                settings=dict(content["settings"]),
                left_out=tuple(
                    OmittedImage(int(each["index"]), str(each["image"]), str(each["identity"]), str(each["reason"]))
                    for each in content.get("left_out", ())
                ),
                lost_identities=tuple(map(str, content.get("lost_identities", ()))),
                sets=tuple(map(SetPart.from_dict, content.get("sets", ()))),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FedfrError(f"{path} has a missing or invalid entry ({error!r}); split again") from error

    def _parts(self) -> SplitParts:
        return SplitParts(self.public, self.clients, self.generic, self.distractors, self.strangers)


def _images(ranges: str) -> ImageIndices:
    return ImageIndices(parse_ranges(ranges))


def _to_pairs(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(first), int(second)) for first, _, second in (pair.partition(":") for pair in text.split()))
