"""Images of enrolled people under the ids that CompreFace's clients expect: UUIDs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from fedfr.recognition.decision import REASONS
from fedfr.recognition.gallery.gallery_types import Person
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.compreface_forms import PREFIX, checked_subject, json_body, number_of, photo_of
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.state import needs_admin, person_of, state_of

__all__ = ["face_id", "faces_of", "faces_router", "find_face"]

_ID = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-4000-8000-([0-9a-f]{12})")


def face_id(person_id: str, number: int) -> str:
    """Return the UUID of an image; it contains the id of the person and the number of the image.

    >>> from fedfr.recognition.service.compreface_faces import face_id
    >>> face_id("3f9a01c47be2", 7)
    '3f9a01c4-7be2-4000-8000-000000000007'
    """
    return f"{person_id[:8]}-{person_id[8:]}-4000-8000-{number:012x}"


def faces_of(person: Person) -> Iterator[dict[str, str]]:
    """Yield the images of a person."""
    for number in person.photos:
        yield {"image_id": face_id(person.id, number), "subject": person.name}


def find_face(recognizer: Recognizer, wanted: str) -> tuple[Person, int]:
    """Return the person and the number of an image; raises :class:`ApiError` if there is none."""
    found = _ID.fullmatch(wanted.lower())
    if found:
        person_id, number = found[1] + found[2], int(found[3], 16)
        with contextlib.suppress(ApiError):
            person = person_of(recognizer, person_id)
            if number in person.photos:
                return person, number
    raise ApiError(404, "unknown-image", "there is no image with this id")


def faces_router() -> APIRouter:
    """Return the routes for images of people, which need the scope ``admin``."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False, dependencies=[Depends(needs_admin)])

    @router.post("/faces")
    async def add_face(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, subject = state.ready(), checked_subject(request.query_params.get("subject"))
        similar = request.query_params.get("allow_similar", "").lower() == "true"
        photo = await photo_of(request)
        return JSONResponse(await state.change(_add, recognizer, subject, photo, state.aligned, similar), 201)

    @router.get("/faces")
    async def list_faces(request: Request) -> JSONResponse:
        state = state_of(request)
        page, size = number_of(request, "page", 0), max(1, min(number_of(request, "size", 20), 1000))
        recognizer, subject = state.ready(), request.query_params.get("subject")
        if subject:
            named = await state.read(recognizer.gallery.find, subject)
            people = [named] if named is not None else []
        else:
            people = await state.read(recognizer.persons)
        faces = [face for person in people for face in faces_of(person)]
        return JSONResponse(
            {
                "faces": faces[page * size : (page + 1) * size],
                "page_number": page,
                "page_size": size,
                "total_pages": -(-len(faces) // size),
                "total_elements": len(faces),
            }
        )

    @router.delete("/faces")
    async def delete_faces(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer = state.ready()
        subject = request.query_params.get("subject")
        if not subject:
            raise ApiError(400, "missing-field", "Required parameter subject is missing; name the person to delete")

        def work() -> int:
            person = recognizer.gallery.find(subject)
            if person is None:
                return 0
            recognizer.remove(person.name)
            return len(person.photos)

        return JSONResponse({"deleted": await state.change(work)})

    @router.delete("/faces/{image_id}")
    async def delete_face(image_id: str, request: Request) -> JSONResponse:
        state = state_of(request)
        return JSONResponse(await state.change(_delete, state.ready(), image_id))

    @router.post("/faces/delete")
    async def delete_several(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, wanted = state.ready(), await json_body(request)
        if not isinstance(wanted, list) or not all(isinstance(each, str) for each in wanted):
            raise ApiError(400, "invalid", "send a list of image ids")

        def work() -> list[dict[str, str]]:
            deleted = []
            for each in wanted:
                with contextlib.suppress(ApiError):  # an id that does not exist is ignored
                    deleted.append(_delete(recognizer, each))
            return deleted

        return JSONResponse(await state.change(work))

    return router


def _add(recognizer: Recognizer, subject: str, photo: bytes, aligned: bool, similar: bool) -> dict[str, str]:
    before = recognizer.gallery.find(subject)
    result = recognizer.enrol(subject, [photo], aligned=aligned, allow_similar=similar)
    person = recognizer.gallery.find(subject)
    new = sorted(set(person.photos) - set(before.photos if before else ())) if person else []
    if result.similar and not result.enrolled:
        raise ApiError(400, "similar-person", f"{result.similar[0].text}; add allow_similar=true to the address")
    if person is None or not new:
        raise _refused(result.reasons)
    return {"image_id": face_id(person.id, new[-1]), "subject": person.name}


def _refused(codes: Sequence[str]) -> ApiError:
    texts = {"no-face": "No face is found in the given image", "several-faces": "Found more than one face"}
    code = codes[0] if codes else "invalid"
    explained = "; ".join(f"{REASONS[each].text}: {REASONS[each].advice}" for each in codes)
    return ApiError(400, code, texts.get(code) or f"the image is not used: {explained}")


def _delete(recognizer: Recognizer, image_id: str) -> dict[str, str]:
    """Delete an image, and with the last one the person, as CompreFace does."""
    person, number = find_face(recognizer, image_id)
    if person.photos == (number,):
        recognizer.remove(person.name)
    else:
        recognizer.remove_photo(person.name, number)
    return {"image_id": image_id, "subject": person.name}
