"""Enrollments: who is in a journey, where, and what a person does to one of them."""

from collections.abc import Mapping
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Response

from api.cursors import AskedPage, listing_of
from api.dependencies import Caller
from api.enrollment_story import explain
from api.fields import EXTERNAL_ID, Listing, SlugPath
from api.journey_models import (
    AnswerInput,
    EnrollInput,
    EnrollmentDetail,
    EnrollmentShown,
    ExplanationShown,
    MoveInput,
    SkipInput,
    VisitShown,
)
from api.journeys import Reader, Writer
from api.messages import links_of
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.journeys.document import Journey, read_journey
from waypost.journeys.problems import did_you_mean
from waypost.journeys.steps import Approval, Wait, WaitFor
from waypost.messaging import ids
from waypost.store import enrollments as store
from waypost.store.database import Connection
from waypost.store.enrollment_inbox import tell
from waypost.store.enrollments import Asked, Enrollment
from waypost.store.entering import Entered, Entrance, NotEntered, enter
from waypost.store.errors import ConflictError
from waypost.store.journey_people import note_deed
from waypost.store.journey_states import archived, not_published
from waypost.store.notifications import JOURNEYS_CHANNEL, OUTBOX_CHANNEL

router = guarded_router("journeys")

STEP = r"^[a-z0-9][a-z0-9_-]{0,39}$"


@router.post(
    "/v1/journeys/{key}/enrollments",
    status_code=201,
    responses={**problems(409), 200: {"model": EnrollmentShown, "description": "It is in already"}},
)
async def enroll(
    caller: Writer, services: WithServices, key: SlugPath, body: EnrollInput, response: Response
) -> EnrollmentShown:
    """Let a contact into a journey: 201; 200 with the enrollment that is open; 409 with why it may not enter.

    A paused journey takes people in, and they wait. How a journey is entered otherwise does not matter here.
    """
    tenant = caller.tenant_id
    async with services.app_db.transaction(tenant) as connection:
        target = await store.find_target(connection, tenant=tenant, key=key, mode=caller.mode)
        entry_key = _entry_key(body, target)
        contact = ids.contact_id(tenant=tenant, external_id=body.contact)
        entrance = Entrance(journey=target.id, contact=contact, key=entry_key, data=body.data, source="api")
        (answer,) = await enter(connection, tenant=tenant, entrances=[entrance])
        enrollment = answer.enrollment if isinstance(answer, Entered) else None
        if isinstance(answer, NotEntered):
            enrollment = await _already(connection, tenant, answer, target)
            response.status_code = 200
        assert enrollment is not None
        shown = await store.get_enrollment(connection, tenant=tenant, enrollment=enrollment, mode=caller.mode)
    services.teller.tell(JOURNEYS_CHANNEL)
    return show_enrollment(services, shown)


@router.get("/v1/journeys/{key}/enrollments")
async def list_enrollments(
    caller: Reader,
    services: WithServices,
    key: SlugPath,
    page: AskedPage,
    state: Literal["open", "ended"] | None = None,
    step: Annotated[
        str | None, Query(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$", description="Who is or ended there")
    ] = None,
    contact: Annotated[str | None, Query(pattern=EXTERNAL_ID, description="External id")] = None,
) -> Listing[EnrollmentShown]:
    """Who is or was in a journey, in the order in which they came in."""
    tenant = caller.tenant_id
    whom = None if contact is None else ids.contact_id(tenant=tenant, external_id=contact)
    async with services.app_db.transaction(tenant) as connection:
        target = await store.find_target(connection, tenant=tenant, key=key, mode=caller.mode)
        rows, after = await store.list_enrollments(
            connection,
            tenant=tenant,
            journey=target.id,
            asked=Asked(state=state, step=step, contact=whom),
            after=page.after,
            limit=page.limit,
        )
    return listing_of([show_enrollment(services, row) for row in rows], after)


@router.get("/v1/enrollments/{enrollment_id}")
async def get_enrollment(caller: Reader, services: WithServices, enrollment_id: UUID) -> EnrollmentDetail:
    """One enrollment with the steps that it took."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await _get(connection, caller, enrollment_id)
        visits = await store.list_visits(connection, tenant=caller.tenant_id, enrollment=enrollment_id)
    shown = show_enrollment(services, found)
    return EnrollmentDetail(**shown.model_dump(), visits=[VisitShown.model_validate(visit) for visit in visits])


@router.get("/v1/enrollments/{enrollment_id}/explain")
async def explain_enrollment(caller: Reader, services: WithServices, enrollment_id: UUID) -> ExplanationShown:
    """Where it is and since when, why each step led where it did, and what moves it next and when."""
    tenant = caller.tenant_id
    async with services.app_db.transaction(tenant) as connection:
        found = await _get(connection, caller, enrollment_id)
        journey = await _journey_of(connection, tenant, found)
        visits = await store.list_visits(connection, tenant=tenant, enrollment=enrollment_id)
        untaken = await store.waiting_words(connection, tenant=tenant, enrollment=enrollment_id)
        messages = await store.open_messages(connection, tenant=tenant, enrollment=enrollment_id)
    shown = show_enrollment(services, found)
    return explain(shown, found, journey=journey, visits=visits, untaken=untaken, messages=messages)


@router.post("/v1/enrollments/{enrollment_id}/skip-wait", status_code=202, responses=problems(409))
async def skip_wait(
    caller: Writer, services: WithServices, enrollment_id: UUID, body: SkipInput | None = None
) -> EnrollmentShown:
    """End the wait where it is: a `wait` goes on, all others time out. Asked twice, one wait is ended.

    With `step` it is this step's wait alone: asked again after an answer that was lost, it ends no other one.
    """
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await _get_open(connection, caller, enrollment_id)
        step = await _rest_of(connection, caller.tenant_id, found)
        wanted = body.step if body is not None else None
        if not isinstance(step, Wait | WaitFor | Approval) or wanted not in (None, found.step):
            raise _not_waiting("It does not wait at a step that can be skipped.")
        untaken = await store.waiting_words(connection, tenant=caller.tenant_id, enrollment=enrollment_id)
        if "skip_wait" not in untaken:
            await _say(connection, caller, found, kind="skip_wait", action="wait_skipped", detail={"step": found.step})
    return _told(services, found)


@router.post("/v1/enrollments/{enrollment_id}/move", status_code=202, responses=problems(409))
async def move_enrollment(
    caller: Writer, services: WithServices, enrollment_id: UUID, body: MoveInput
) -> EnrollmentShown:
    """Put the contact at a step of its version, from which it goes on."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await _get_open(connection, caller, enrollment_id)
        journey = await _journey_of(connection, caller.tenant_id, found)
        if body.step not in journey.steps:
            hint = did_you_mean(body.step, journey.steps)
            advice = f"Version {found.version} of the journey has no step {body.step}."
            error = FieldError(field="step", message=advice, suggestion=hint)
            raise ApiError("validation_failed", advice, errors=[error])
        detail = {"step": body.step}
        await _say(connection, caller, found, kind="move", action="moved", detail=detail)
    return _told(services, found)


@router.post("/v1/enrollments/{enrollment_id}/exit", status_code=202, responses=problems(409))
async def exit_enrollment(caller: Writer, services: WithServices, enrollment_id: UUID) -> EnrollmentShown:
    """Take the contact out; what was not sent yet is taken back."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await _get_open(connection, caller, enrollment_id)
        await _say(connection, caller, found, kind="remove", action="removed", detail={"step": found.step})
    return _told(services, found)


@router.post("/v1/enrollments/{enrollment_id}/answer", status_code=202, responses=problems(409))
async def answer_enrollment(
    caller: Writer, services: WithServices, enrollment_id: UUID, body: AnswerInput
) -> EnrollmentShown:
    """A person's word at the approval where it waits."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await _get_open(connection, caller, enrollment_id)
        step = await _rest_of(connection, caller.tenant_id, found)
        if not isinstance(step, Approval) or found.step != body.step:
            raise _not_waiting(f"It does not wait for an approval at {body.step}.")
        detail = {"step": body.step, "approved": body.approved}
        await _say(connection, caller, found, kind="answer", action="answered", detail=detail)
    return _told(services, found)


def _entry_key(body: EnrollInput, target: store.Target) -> str:
    if target.keyed == (body.key is not None):
        return body.key or ""
    advice = "This journey has no keys: leave it out."
    if target.keyed:
        advice = "Of this journey each key is one of its own: give it."
    raise ApiError("validation_failed", advice, errors=[FieldError(field="key", message=advice)])


async def _already(connection: Connection, tenant: UUID, answer: NotEntered, target: store.Target) -> UUID:
    """The enrollment that is open already. Raises why the contact may not enter where that is something else."""
    entrance = answer.entrance
    if answer.reason == "already_in":
        found = answer.enrollment or await store.find_open(
            connection, tenant=tenant, journey=entrance.journey, contact=entrance.contact, key=entrance.key
        )
        if found is not None:
            return found
    raise _refusal(answer.reason, target)


def _refusal(reason: str, target: store.Target) -> Exception:
    match reason:
        case "unknown_contact":
            advice = "There is no such contact; make it first."
            return ApiError("contact_not_found", advice, errors=[FieldError(field="contact", message=advice)])
        case "not_active":
            return archived() if target.state == "archived" else not_published()
        case "draining":
            said = "Nobody enters before those in the old version have left."
            return ConflictError(said, code="journey_draining")
        case "only_once":
            return ConflictError("The contact was in this journey before, and enters it once.", code="only_once")
        case "cooling_down":
            return ConflictError("The contact was in this journey too short a time ago.", code="cooling_down")
        case _:
            return ConflictError("The contact came in and left at this moment; ask again.", code="conflict")


async def _get(connection: Connection, caller: Caller, enrollment: UUID) -> Enrollment:
    return await store.get_enrollment(connection, tenant=caller.tenant_id, enrollment=enrollment, mode=caller.mode)


async def _get_open(connection: Connection, caller: Caller, enrollment: UUID) -> Enrollment:
    found = await store.get_enrollment(
        connection, tenant=caller.tenant_id, enrollment=enrollment, mode=caller.mode, lock=True
    )
    if found.state == "ended":
        raise ConflictError(f"This enrollment has ended: {found.how} ({found.reason}).", code="enrollment_over")
    return found


async def _journey_of(connection: Connection, tenant: UUID, found: Enrollment) -> Journey:
    definition = await store.read_definition(connection, tenant=tenant, journey=found.journey_id, number=found.version)
    return read_journey(definition)


async def _rest_of(connection: Connection, tenant: UUID, found: Enrollment) -> object:
    """The step where it rests; None where it rests at none."""
    if found.step is None or found.resting_since is None:
        return None
    return (await _journey_of(connection, tenant, found)).steps.get(found.step)


async def _say(
    connection: Connection,
    caller: Caller,
    found: Enrollment,
    *,
    kind: str,
    action: str,
    detail: Mapping[str, object],
) -> None:
    """Tell the enrollment, and write down who did."""
    told = await tell(connection, tenant=caller.tenant_id, enrollments=[found.id], kind=kind, detail=detail)
    if not told:
        raise ConflictError("This enrollment has just ended.", code="enrollment_over")
    await note_deed(
        connection,
        tenant=caller.tenant_id,
        journey=found.journey_id,
        action=action,
        actor=caller.key_id,
        enrollment=found.id,
        detail=detail,
    )


def _told(services: Services, found: Enrollment) -> EnrollmentShown:
    services.teller.tell(OUTBOX_CHANNEL)
    return show_enrollment(services, found)


def _not_waiting(said: str) -> ConflictError:
    return ConflictError(said, code="enrollment_not_waiting")


def show_enrollment(services: Services, found: Enrollment) -> EnrollmentShown:
    """An enrollment as it is answered."""
    return EnrollmentShown(
        id=found.id,
        journey=found.journey,
        version=found.version,
        contact=found.contact,
        key=found.entry_key,
        number=found.number,
        mode=found.mode,
        source=found.source,
        state="open" if found.state == "open" else "ended",
        data=found.data,
        step=found.step,
        resting_since=found.resting_since,
        wakes_at=found.wakes_at,
        paused_at=found.paused_at,
        entered_at=found.entered_at,
        ended_at=found.ended_at,
        how=found.how,
        reason=found.reason,
        execution=links_of(services).of_enrollment(found.id),
    )
