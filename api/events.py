"""`/v1/events`: what contacts do in the tenant's product."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import Response
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from api.dependencies import Caller, Scope, needs
from api.fields import Body, ExternalId, When
from api.problems import ApiError, FieldError, Problem, problem_response
from api.routes import guarded_router
from api.services import WithServices
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import validate_data
from waypost.store.contact_events import ContactEvent, Taken, receive_events
from waypost.store.event_routing import Routed
from waypost.store.notifications import JOURNEYS_CHANNEL, OUTBOX_CHANNEL, Teller

router = guarded_router("events")

MAX_BATCH = 500
MAX_PROPERTIES_BYTES = 16_384
MOST_AHEAD = timedelta(days=1)


def _properties(value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(value, field="properties", max_bytes=MAX_PROPERTIES_BYTES)
    except LabelError as error:
        raise error.as_pydantic() from None


def _not_ahead(value: datetime) -> datetime:
    if value > datetime.now(UTC) + MOST_AHEAD:
        raise ValueError("An event has happened: its time can be at most a day ahead of our clock")
    return value


class EventInput(Body):
    """Something that a contact did. An id that was sent before is the same event: it counts once."""

    id: Annotated[
        str, StringConstraints(pattern=r"^[\x21-\x7e]{1,128}$"), Field(description="Yours; up to 128 ASCII characters")
    ]
    contact: Annotated[ExternalId, Field(description="External id")]
    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
    properties: Annotated[
        dict[str, Any], AfterValidator(_properties), Field(description="JSON for rules and journeys, 16 KB at most")
    ] = Field(default_factory=dict)
    occurred_at: Annotated[
        Annotated[When, AfterValidator(_not_ahead)] | None,
        Field(description="Without it: now; at most a day ahead, for clocks differ"),
    ] = None


class EventBatch(Body):
    """Events, each with a verdict of its own."""

    events: Annotated[tuple[EventInput, ...], Field(min_length=1, max_length=MAX_BATCH)]


class EventTaken(BaseModel):
    """An event that is stored. `duplicate`: it was before."""

    id: UUID
    status: Literal["accepted", "duplicate"]


class EventVerdict(BaseModel):
    """What became of one event of a batch. `problem` says why it was refused."""

    id: UUID | None = None
    status: Literal["accepted", "duplicate", "refused"]
    problem: Problem | None = None


class EventVerdicts(BaseModel):
    """A verdict for each event, in the order of the request."""

    verdicts: Sequence[EventVerdict]


Writer = Annotated[Caller, needs(Scope.EVENTS_WRITE)]


@router.post(
    "/v1/events", status_code=201, responses={200: {"model": EventTaken, "description": "It was there before"}}
)
async def add_event(caller: Writer, services: WithServices, body: EventInput, response: Response) -> EventTaken:
    """Store what a contact did: 201, or 200 where its id was there before."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        received = await receive_events(connection, tenant=caller.tenant_id, events=[_event(body)], mode=caller.mode)
    tell_of(received.routed, services.teller)
    ((row, taken),) = received.events
    if taken is Taken.UNKNOWN_CONTACT:
        raise ApiError("contact_not_found", _UNKNOWN, errors=[FieldError(field="contact", message=_UNKNOWN)])
    if taken is Taken.DUPLICATE:
        response.status_code = 200
    return EventTaken(id=row, status=taken.value)


@router.post("/v1/events/batch", response_model=EventVerdicts)
async def add_batch(caller: Writer, services: WithServices, body: EventBatch) -> Response:
    """Store up to 500 events. One of a contact that is not there keeps the others not out; a malformed one does."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        events = [_event(one) for one in body.events]
        received = await receive_events(connection, tenant=caller.tenant_id, events=events, mode=caller.mode)
    tell_of(received.routed, services.teller)
    # Written as it is: to validate and copy 500 verdicts of ours took as long as to store the events.
    answer = {"verdicts": [_verdict(row, taken) for row, taken in received.events]}
    return Response(orjson.dumps(answer), media_type="application/json")


def tell_of(routed: Routed, teller: Teller) -> None:
    """After the commit: workers start those who entered, and deliver hints to those who were woken."""
    if routed.entered:
        teller.tell(JOURNEYS_CHANNEL)
    if routed.woken:
        teller.tell(OUTBOX_CHANNEL)


_UNKNOWN = "There is no such contact; make it first, then send the event again."


def _verdict(row: UUID, taken: Taken) -> dict[str, Any]:
    """As `EventVerdict` has it."""
    if taken is not Taken.UNKNOWN_CONTACT:
        return {"id": row, "status": taken.value}
    answer = problem_response("contact_not_found", _UNKNOWN, errors=[FieldError(field="contact", message=_UNKNOWN)])
    return {"status": "refused", "problem": orjson.Fragment(bytes(answer.body))}


def _event(body: EventInput) -> ContactEvent:
    return ContactEvent(
        id=body.id, contact=body.contact, name=body.name, properties=body.properties, occurred_at=body.occurred_at
    )
