"""People under the name that CompreFace gives them: subjects."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from fedfr.recognition.gallery.gallery_types import Person
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.compreface_forms import PREFIX, checked_subject, json_body
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.state import needs_admin, state_of

__all__ = ["subjects_router"]


def subjects_router() -> APIRouter:
    """Return the routes for people, which need the scope ``admin``."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False, dependencies=[Depends(needs_admin)])

    @router.get("/subjects")
    @router.get("/subjects/")
    async def list_subjects(request: Request) -> JSONResponse:
        state = state_of(request)
        return JSONResponse({"subjects": [person.name for person in await state.read(state.ready().persons)]})

    @router.put("/subjects/{subject:path}")
    async def rename(subject: str, request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, new = state.ready(), _subject(await json_body(request))

        def work() -> None:
            person, other = _named(recognizer, subject), recognizer.gallery.find(new)
            if other is not None and other.id != person.id:
                raise ApiError(400, "person-exists", "a person of this name is enrolled; people are not merged")
            recognizer.rename(person.name, new)

        await state.change(work)
        return JSONResponse({"updated": "true"})

    @router.delete("/subjects/{subject:path}")
    async def delete_subject(subject: str, request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer = state.ready()
        await state.change(lambda: recognizer.remove(_named(recognizer, subject).name))
        return JSONResponse({"subject": subject})

    @router.post("/subjects")
    async def add_subject(request: Request) -> JSONResponse:
        state = state_of(request)
        recognizer, subject = state.ready(), _subject(await json_body(request))

        def work() -> None:
            if recognizer.gallery.find(subject) is not None:
                raise ApiError(400, "person-exists", "Subject already exists")
            recognizer.add_person(subject)

        await state.change(work)
        return JSONResponse({"subject": subject}, 201)

    return router


def _subject(content: object) -> str:
    return checked_subject(content.get("subject") if isinstance(content, dict) else None)


def _named(recognizer: Recognizer, subject: str) -> Person:
    person = recognizer.gallery.find(subject)
    if person is None:
        raise ApiError(404, "unknown-person", "Subject is not found")
    return person
