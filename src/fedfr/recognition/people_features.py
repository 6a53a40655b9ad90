"""Features of other people, one image of each, from a face set or a folder of photos."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, load_faces
from fedfr.faces.face_sets import original_name
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.faces.readers.image_reading import FacesWarning
from fedfr.faces.readers.listing import find_source, list_images
from fedfr.faces.readers.recordio.recordio_files import is_recordio
from fedfr.faces.storage import is_face_set
from fedfr.recognition.calibration.provable_rates import needed_rank
from fedfr.recognition.enrolment.enrolment import Progress
from fedfr.recognition.gallery.gallery_types import StrangerFeatures
from fedfr.recognition.photos.embedder import Embedder
from fedfr.recognition.photos.photo import RejectedPhoto, read_photo
from fedfr.recognition.photos.photo_files import PHOTO_SUFFIXES
from fedfr.recognition.photos.same_image import SeenImages
from fedfr.recognition.trained_people import TrainedPeople, refuse_images, refuse_names

__all__ = ["People", "open_people", "people_features"]

People: TypeAlias = FaceSet | str | Path
"""A face set, the path of one, or a folder with a sub-folder of photos for each person."""

_BATCH = 64

Image: TypeAlias = NDArray[np.uint8]
Images: TypeAlias = Iterator[Callable[[], Image]]


def people_features(
    people: People,
    embedder: Embedder,
    what: str = "strangers",
    progress: Progress | None = None,
    *,
    fpir: float | None = None,
    seen: SeenImages | None = None,
    trained: TrainedPeople | None = None,
) -> StrangerFeatures:
    """Return the feature of one image of each person: the first that passes the quality gate of ``embedder``.

    Strangers are judged as probes are, since a blurred image resembles nobody. An image of 112×112 pixels is an aligned
    crop; in other images the face is detected. People without such an image are left out, with a warning that counts
    them, and so are those with a copy of another's image, which is of the same person. ``seen`` holds images of other
    people; these are added. ``progress`` is called with the number of people done and of all people. Raises
    :class:`FedfrError` if nobody is left, before anything is computed if so many people cannot prove ``fpir``, and if
    somebody is among the people on whom the model was ``trained``.
    """
    opened = open_people(people)
    names, every = _people_of(opened)
    total = len(names)
    if fpir is not None:
        needed_rank(total, fpir)
    if trained is not None:
        refuse_names(names, trained, what)
        if isinstance(opened, FaceSet):
            refuse_images(opened, [names[label] for label in opened.labels], trained, what)
    features: list[NDArray[np.float32]] = []
    digest = hashlib.sha256()
    waiting: list[Image] = []
    owners: list[str] = []
    known = SeenImages() if seen is None else seen
    good = used = 0
    for number, images in enumerate(every, 1):
        crop = _first_good(images, embedder)
        good += crop is not None
        if crop is not None and known.add(crop):
            used += 1
            digest.update(crop.tobytes())
            waiting.append(crop)
            owners.append(names[number - 1])
        if len(waiting) == _BATCH or (number == total and waiting):
            if trained is not None and not isinstance(opened, FaceSet):
                refuse_images(waiting, owners, trained, what)
            features.append(embedder.features(np.stack(waiting)))
            waiting.clear()
            owners.clear()
        if progress is not None:
            progress(number, total)
    if not used:
        why = (
            "are in the other set as well" if good else f"have no image that passes the quality gate {embedder.gate!r}"
        )
        raise FedfrError(f"all {total} {what} {why}; give others")
    for left, why in (
        (total - good, f"have no image that passes the quality gate {embedder.gate!r}"),
        (good - used, "have the image of another"),
    ):
        if left:
            warnings.warn(f"{left} of {total} {what} {why} and are left out", FacesWarning, stacklevel=2)
    return StrangerFeatures(np.concatenate(features), digest.hexdigest())


def open_people(people: People) -> FaceSet | Path:
    """Return the face set that ``people`` names, or the folder of photos."""
    if isinstance(people, FaceSet):
        return people
    path = Path(people)
    return load_faces(path) if is_face_set(path) or is_recordio(path) else path


def _people_of(people: FaceSet | Path) -> tuple[Sequence[str], Iterator[Images]]:
    """Return the names of people and, for each, functions that read the images."""
    if isinstance(people, FaceSet):
        faces = people
        names = [original_name(name) for name in faces.identities] if faces.sets else faces.identities
        return names, (
            ((lambda row=row: faces.images([row])[0]) for row in faces.indices_of(label).tolist())
            for label in range(faces.num_identities)
        )
    listing = list_images(find_source(people), suffixes=PHOTO_SUFFIXES)
    rows = np.asarray(listing.labels)
    files = [[listing.files[row] for row in np.flatnonzero(rows == label)] for label in range(len(listing.identities))]
    return listing.identities, (((lambda file=file: read_photo(file)) for file in own) for own in files)


def _first_good(images: Images, embedder: Embedder) -> Image | None:
    for read in images:
        try:
            image = read()
            faces = embedder.look(image, aligned=image.shape == IMAGE_SHAPE)
        except RejectedPhoto:
            continue
        if faces and not faces[0].reasons:
            return faces[0].crop
    return None
