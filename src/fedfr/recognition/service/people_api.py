"""Routes for people: enrolment, images and deletion."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from fedfr.recognition.enrolment.enrolment import Enrolment
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.decisions_api import PHOTO, form_of
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.gallery_models import EnrolmentBody, PersonAnswer, Persons, RemovalBody
from fedfr.recognition.service.models import form
from fedfr.recognition.service.state import needs_admin, person_of, sent_json, state_of

__all__ = ["RESERVED", "people_router"]

RESERVED = "unknown"
"""Name that nobody may have: clients of CompreFace use it for strangers."""

SIMILAR = "`true`: enrol a person who resembles another one, such as a twin."


def people_router() -> APIRouter:
    """Return the routes, which need the scope ``admin``."""
    router = APIRouter(prefix="/v1", tags=["people"], dependencies=[Depends(needs_admin)])

    @router.get("/persons", summary="List the enrolled people", response_model=Persons)
    async def persons(request: Request) -> JSONResponse:
        state = state_of(request)
        found = await state.read(state.ready().persons)
        return sent_json(request, {"persons": [person.to_json() for person in found]})

    @router.post(
        "/persons",
        summary="Enrol a person",
        response_model=EnrolmentBody,
        status_code=201,
        openapi_extra=form(
            {"files": PHOTO}, {"name": "Name of the person.", "allow_similar": SIMILAR}, optional=("allow_similar",)
        ),
    )
    async def enrol(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, sent = state.ready(), await form_of(request)
        sent.only(("name", "allow_similar"), ("files",))
        photos, name, similar = sent.all_files("files"), sent.text("name"), sent.flag("allow_similar")

        def work() -> dict[str, Any]:
            _refuse_name(recognizer, name)
            return _enrolled(recognizer.enrol(name, photos, aligned=state.aligned, allow_similar=similar))

        return sent_json(request, await state.change(work), 201)

    @router.get("/persons/{person_id}", summary="Describe a person", response_model=PersonAnswer)
    async def person(person_id: str, request: Request) -> JSONResponse:
        state = state_of(request)
        return sent_json(request, (await state.read(person_of, state.ready(), person_id)).to_json())

    @router.delete("/persons/{person_id}", summary="Delete a person", response_model=RemovalBody)
    async def remove(person_id: str, request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer = state.ready()

        def work() -> dict[str, Any]:
            if not recognizer.gallery.holds(person_id):  # somebody whose records are damaged is removed, too
                raise ApiError(404, "unknown-person", "nobody enrolled has this id")
            return recognizer.remove_by_id(person_id).to_json()

        return sent_json(request, await state.change(work))

    @router.post(
        "/persons/{person_id}/photos",
        summary="Add images of a person",
        response_model=EnrolmentBody,
        openapi_extra=form({"files": PHOTO}, {"allow_similar": SIMILAR}, optional=("allow_similar",)),
    )
    async def add_photos(person_id: str, request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, sent = state.ready(), await form_of(request)
        sent.only(("allow_similar",), ("files",))
        photos, similar = sent.all_files("files"), sent.flag("allow_similar")

        def work() -> dict[str, Any]:
            name = person_of(recognizer, person_id).name
            return _enrolled(recognizer.enrol(name, photos, aligned=state.aligned, allow_similar=similar))

        return sent_json(request, await state.change(work))

    return router


def _refuse_name(recognizer: Recognizer, name: str) -> None:
    """Raise :class:`ApiError` for the name of a new person that is reserved or taken."""
    if name.strip().casefold() == RESERVED:
        raise ApiError(422, "reserved-name", f"nobody can be enrolled as {RESERVED!r}; use another name")
    if recognizer.gallery.find(name) is not None:
        raise ApiError(409, "person-exists", "a person of this name is enrolled; add images to this person instead")


def _enrolled(result: Enrolment) -> dict[str, Any]:
    """Return the JSON values of an enrolment; raises :class:`ApiError` with them if nothing was enrolled."""
    content = result.to_json()
    if result.enrolled:
        return content
    if result.similar:
        raise ApiError(
            409,
            "similar-person",
            "the face resembles an enrolled person; send allow_similar=true if it is another one",
            content,
        )
    raise ApiError(422, "no-photo-accepted", "no image could be used; the details give the reasons", content)
