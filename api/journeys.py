"""`/v1/journeys`: drafts, their versions and pictures. docs/journeys.md has the language."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import Path, Query, Request, Response

from api.cursors import AskedPage, listing, listing_of
from api.dependencies import Caller, Scope, needs
from api.fields import Listing, SlugPath
from api.journey_models import (
    MAX_VERSION,
    DeedShown,
    JourneyShown,
    JourneySummary,
    PeopleShown,
    VersionShown,
    VersionSummary,
)
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.journeys.document import Journey
from waypost.journeys.mermaid import to_mermaid
from waypost.journeys.problems import Problem
from waypost.journeys.source import MAX_CHARACTERS
from waypost.journeys.svg import to_svg
from waypost.journeys.validation import check_journey
from waypost.store import journeys as store
from waypost.store.journey_tables import JourneyRow, JourneyVersionRow

router = guarded_router("journeys")

_YAML = {"schema": {"type": "string", "maxLength": MAX_CHARACTERS}}
_DOCUMENT = {
    "requestBody": {
        "required": True,
        "description": "The document, as `waypost journeys schema` has it (docs/journey.schema.json)",
        "content": {"application/yaml": _YAML, "text/yaml": _YAML, "application/json": {"schema": {"type": "object"}}},
    }
}
MERMAID, SVG = "text/vnd.mermaid", "image/svg+xml"
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture",
        "content": {MERMAID: {"schema": {"type": "string"}}, SVG: {"schema": {"type": "string"}}},
    }
}

T = TypeVar("T")

Reader = Annotated[Caller, needs(Scope.JOURNEYS_READ)]
Writer = Annotated[Caller, needs(Scope.JOURNEYS_WRITE)]
NumberPath = Annotated[int, Path(ge=1, le=MAX_VERSION)]


@router.put(
    "/v1/journeys/{key}",
    openapi_extra=_DOCUMENT,
    responses={**problems(400, 409, 413), 201: {"model": JourneyShown, "description": "It is new"}},
)
async def put_journey(
    caller: Writer, services: WithServices, key: SlugPath, request: Request, response: Response
) -> JourneyShown:
    """Make a journey or replace its draft; what is published goes on as it is. The body is the document itself.

    It must be sound in itself: all problems at once otherwise. What it names is looked for when it is published.
    """
    text, journey = await in_workshop(services, _read_document, await request.body(), key)
    async with services.app_db.session(caller.tenant_id) as session:
        row, new = await store.put_draft(
            session, caller.tenant_id, key, name=journey.name, mode=caller.mode.value, draft=text
        )
        if new:
            response.status_code = 201
        return await show_journey(session, row)


@router.get("/v1/journeys")
async def list_journeys(caller: Reader, services: WithServices, page: AskedPage) -> Listing[JourneySummary]:
    """Journeys of the key's own mode, in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.list_journeys(
            session, caller.tenant_id, mode=caller.mode, after=page.after, limit=page.limit
        )
    return listing(found, JourneySummary.model_validate)


@router.get("/v1/journeys/{key}")
async def get_journey(caller: Reader, services: WithServices, key: SlugPath) -> JourneyShown:
    """A journey: its draft, its state, and how many are at which step."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.get_journey(session, caller.tenant_id, key, mode=caller.mode)
        return await show_journey(session, row)


@router.delete("/v1/journeys/{key}", status_code=204, responses=problems(409))
async def delete_journey(caller: Writer, services: WithServices, key: SlugPath) -> None:
    """Forget a draft that was never published."""
    async with services.app_db.session(caller.tenant_id) as session:
        await store.delete_draft(session, caller.tenant_id, key, mode=caller.mode)


@router.get("/v1/journeys/{key}/versions")
async def list_versions(
    caller: Reader, services: WithServices, key: SlugPath, page: AskedPage
) -> Listing[VersionSummary]:
    """What was published, from the first on."""
    async with services.app_db.session(caller.tenant_id) as session:
        journey = await store.get_journey(session, caller.tenant_id, key, mode=caller.mode)
        rows, after = await store.list_versions(session, journey, after=page.after, limit=page.limit)
        people = await store.count_open(session, journey)
    return listing_of([VersionSummary.model_validate(_version(row, people.get(row.number, 0))) for row in rows], after)


@router.get("/v1/journeys/{key}/versions/{number}")
async def get_version(caller: Reader, services: WithServices, key: SlugPath, number: NumberPath) -> VersionShown:
    """One version with its document."""
    async with services.app_db.session(caller.tenant_id) as session:
        journey = await store.get_journey(session, caller.tenant_id, key, mode=caller.mode)
        row = await store.get_version(session, journey, number)
        people = await store.count_open(session, journey)
    shown = _version(row, people.get(number, 0))
    return VersionShown.model_validate({**shown, "source": row.source, "definition": row.definition})


@router.get("/v1/journeys/{key}/diagram", response_class=Response, responses=_PICTURES)
async def draw_journey(
    caller: Reader,
    services: WithServices,
    request: Request,
    key: SlugPath,
    format: Annotated[
        Literal["mermaid", "svg"] | None, Query(description="Without it the Accept header says; Mermaid else")
    ] = None,
    counts: Annotated[bool, Query(description="With how many are at each step now, whatever their version")] = False,
    version: Annotated[
        int | None, Query(ge=0, le=MAX_VERSION, description="0: the draft; without it what was published last, if any")
    ] = None,
) -> Response:
    """The journey as a picture: Mermaid's text, or SVG."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.get_journey(session, caller.tenant_id, key, mode=caller.mode)
        journey = await _drawn(session, row, row.entering if version is None else version)
        people = (await store.count_people(session, row)).steps if counts else None
    shown = None if people is None else {step: people.get(step, 0) for step in journey.steps}
    if format == "svg" or (format is None and SVG in request.headers.get("accept", "")):
        return Response(to_svg(journey, shown), media_type=SVG)
    return Response(to_mermaid(journey, shown), media_type=MERMAID)


@router.get("/v1/journeys/{key}/audit")
async def list_audit(
    caller: Reader,
    services: WithServices,
    key: SlugPath,
    page: AskedPage,
    enrollment: Annotated[UUID | None, Query(description="Of this one alone")] = None,
) -> Listing[DeedShown]:
    """Who did what to the journey and to its enrollments, in order."""
    async with services.app_db.session(caller.tenant_id) as session:
        journey = await store.get_journey(session, caller.tenant_id, key, mode=caller.mode)
        rows, after = await store.list_audit(
            session, journey, enrollment=enrollment, after=page.after, limit=page.limit
        )
    return listing_of([DeedShown.model_validate(row) for row in rows], after)


async def in_workshop(services: Services, work: Callable[..., T], *given: Any) -> T:
    """Reading a large document takes a second of CPU: not on the event loop."""
    return await asyncio.get_running_loop().run_in_executor(services.workshop, work, *given)


def document_problem(found: Sequence[Problem]) -> ApiError:
    """Everything that is wrong with a document, as one answer."""
    errors = [
        FieldError(
            field=".".join(map(str, one.path)) or "body",
            message=one.message,
            code=one.code,
            line=one.line,
            step=one.step,
            suggestion=one.suggestion,
        )
        for one in found
    ]
    many = "One thing is" if len(found) == 1 else f"{len(found)} things are"
    return ApiError("journey_invalid", f"{many} wrong with the document: see errors.", errors=errors)


def _read_document(body: bytes, key: str) -> tuple[str, Journey]:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise document_problem([Problem(code="unreadable", message="The document is no UTF-8.")]) from None
    checked = check_journey(text)
    if checked.journey is None:
        raise document_problem(checked.problems)
    if checked.journey.journey != key:
        said = f"The document is of the journey {checked.journey.journey}, and the path of {key}."
        hint = f"write journey: {key}, or put it at its own path"
        raise document_problem([Problem(code="wrong_key", message=said, path=("journey",), suggestion=hint)])
    return text, checked.journey


async def show_journey(session: store.Session, row: JourneyRow) -> JourneyShown:
    """A journey as it is answered."""
    people = await store.count_people(session, row)
    return JourneyShown(
        **JourneySummary.model_validate(row).model_dump(),
        draft=row.draft,
        draft_revision=row.draft_revision,
        draining=row.entering if row.version != row.entering else None,
        counts=PeopleShown(open=people.open, waiting=people.waiting, steps=people.steps, endings=people.endings),
    )


def _version(row: JourneyVersionRow, people: int) -> dict[str, Any]:
    return {
        "number": row.number,
        "published_at": row.published_at,
        "published_by": row.published_by,
        "open": people,
    }


async def _drawn(session: store.Session, row: JourneyRow, number: int) -> Journey:
    """From the text, for PostgreSQL's jsonb forgets in which order the steps were written."""
    text = (await store.get_version(session, row, number)).source if number > 0 else row.draft
    checked = check_journey(text)
    assert checked.journey is not None, "a document is sound when it is put"
    return checked.journey
