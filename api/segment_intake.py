"""From calls of the Segment protocol to contacts and events: in the order of the calls, in one transaction."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, assert_never
from uuid import uuid4

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from api.dependencies import Caller
from api.events import MAX_BATCH as MAX_EVENTS
from api.events import MOST_AHEAD, tell_of
from api.problems import FieldError
from api.segment_calls import Alias, Call, Group, Identify, Page, Screen, Track
from api.services import Services
from waypost.messaging.addresses import normalise_email, normalise_locale, normalise_phone, normalise_time_zone
from waypost.messaging.content_errors import AddressError
from waypost.store.contact_events import ContactEvent, Taken, receive_events
from waypost.store.contact_merging import merge_contact, present_contacts
from waypost.store.contact_traits import Connection, Traits, ensure_contacts, tell_contacts
from waypost.store.event_routing import Routed

MAX_MERGES = 200
"""Contacts that one request makes one; each takes some ten statements."""

_FIELDS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "email": ("email", normalise_email),
    "phone": ("phone", normalise_phone),
    "locale": ("locale", normalise_locale),
    "timezone": ("time_zone", normalise_time_zone),
    "time_zone": ("time_zone", normalise_time_zone),
}
"""The traits that are fields of a contact, and how each is read."""
_PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = TypeAdapter(datetime)


class CallProblem(BaseModel):
    """What was wrong with one call. `taken`: all but the fields that `errors` names was taken."""

    index: int = Field(description="The call's place in the batch, from 0")
    taken: bool
    code: str = Field(description="Of the codes of problems")
    errors: Sequence[FieldError]


Placed = tuple[int, Call]
"""A call and its place in the request."""


@dataclass(slots=True)
class _Part:
    """What a stretch of calls says."""

    said: list[tuple[int, Traits]] = field(default_factory=list)
    events: list[ContactEvent] = field(default_factory=list)
    known_as: dict[str, str] = field(default_factory=dict)
    """Who the anonymous contacts are that somebody was identified as."""
    problems: list[CallProblem] = field(default_factory=list)

    def who(self) -> set[str]:
        """The contacts that it is about."""
        return {traits.external_id for _, traits in self.said} | {event.contact for event in self.events}


async def take_calls(services: Services, caller: Caller, calls: Sequence[Placed]) -> list[CallProblem]:
    """Store what the calls say; what was wrong with those of which not all was taken."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        intake = _Intake(connection, caller)
        for _, stretch in groupby(calls, key=_stretch):
            await intake.take(list(stretch))
    for routed in intake.routed:
        tell_of(routed, services.teller)
    return intake.problems


def _stretch(one: Placed) -> int:
    """An alias is a stretch of its own: it tells what comes before it from what comes after."""
    place, call = one
    return place if isinstance(call, Alias) else -1


class _Intake:
    """One request's calls on their way into the database."""

    def __init__(self, connection: Connection, caller: Caller) -> None:
        self.problems: list[CallProblem] = []
        self.routed: list[Routed] = []
        self._connection = connection
        self._tenant = caller.tenant_id
        self._mode = caller.mode
        self._merges_left = MAX_MERGES

    async def take(self, calls: Sequence[Placed]) -> None:
        """Take an alias, or a stretch of other calls."""
        place, first = calls[0]
        if isinstance(first, Alias):
            await self._alias(place, first)
            return
        part = _read(calls)
        self.problems += part.problems
        await ensure_contacts(self._connection, self._tenant, part.who())
        await self._tell(part.said)
        for anonymous in sorted(await present_contacts(self._connection, self._tenant, part.known_as)):
            if self._may_merge():
                await self._merge(anonymous, part.known_as[anonymous])
        for start in range(0, len(part.events), MAX_EVENTS):
            await self._add(part.events[start : start + MAX_EVENTS])

    async def _alias(self, place: int, alias: Alias) -> None:
        if self._may_merge():
            await self._merge(alias.previous, alias.external_id)
            await self._merge(alias.anonymous_previous, alias.external_id)
            return
        advice = f"A request makes at most {MAX_MERGES} contacts one; send the others by themselves."
        self._refuse(place, "validation_failed", FieldError(field="type", message=advice, bound=MAX_MERGES))

    def _may_merge(self) -> bool:
        self._merges_left -= 1
        return self._merges_left >= 0

    async def _merge(self, previous: str, into: str) -> None:
        await merge_contact(self._connection, self._tenant, previous=previous, into=into)

    async def _tell(self, said: Sequence[tuple[int, Traits]]) -> None:
        refused = await tell_contacts(self._connection, self._tenant, [traits for _, traits in said])
        for at, error in refused.items():
            message = FieldError(field="traits", message=error.message, code=error.code, bound=error.bound)
            self._refuse(said[at][0], error.code, message)

    def _refuse(self, place: int, code: str, error: FieldError) -> None:
        self.problems = [one for one in self.problems if one.index != place]
        self.problems.append(CallProblem(index=place, taken=False, code=code, errors=[error]))

    async def _add(self, events: Sequence[ContactEvent]) -> None:
        received = await receive_events(self._connection, tenant=self._tenant, events=events, mode=self._mode)
        self.routed.append(received.routed)
        taken = zip(events, received.events, strict=True)
        gone = [event for event, (_, what) in taken if what is Taken.UNKNOWN_CONTACT]
        if gone:  # deleted, or made one with another, at this very moment
            await ensure_contacts(self._connection, self._tenant, {event.contact for event in gone})
            again = await receive_events(self._connection, tenant=self._tenant, events=gone, mode=self._mode)
            self.routed.append(again.routed)


def _read(calls: Iterable[Placed]) -> _Part:
    calls = list(calls)
    part = _Part()
    for _, call in calls:
        if isinstance(call, Identify) and call.anonymous_contact:
            part.known_as.setdefault(call.anonymous_contact, call.external_id)
    for place, call in calls:
        who = part.known_as.get(call.external_id, call.external_id)
        match call:
            case Identify():
                part.said.append((place, _identified(place, call, who, part.problems)))
            case Group():
                groups = {str(call.group_id): call.traits or {}}
                part.said.append((place, Traits(external_id=who, groups=groups)))
            case Track() | Page() | Screen():
                part.events.append(_event(call, who))
    return part


def _identified(place: int, call: Identify, who: str, problems: list[CallProblem]) -> Traits:
    fields: dict[str, str | None] = {}
    errors: list[FieldError] = []
    traits = dict(call.traits or {})
    for trait in (trait for trait in _FIELDS if trait in traits):
        said = traits.pop(trait)
        try:
            fields[_FIELDS[trait][0]] = _read_field(trait, said)
        except AddressError as error:
            errors.append(FieldError(field=f"traits.{trait}", message=error.message, code=error.code))
    if errors:
        problems.append(CallProblem(index=place, taken=True, code="invalid_address", errors=errors))
    return Traits(external_id=who, fields=fields, gaps=_gaps(call.context or {}), attributes=traits)


def _read_field(trait: str, said: object) -> str | None:
    if said is None:
        return None
    _, read = _FIELDS[trait]
    return read(said if isinstance(said, str) else "")


def _gaps(context: dict[str, Any]) -> dict[str, str]:
    gaps = {}
    for trait in ("locale", "timezone"):
        name, read = _FIELDS[trait]
        said = context.get(trait)
        if isinstance(said, str):
            with suppress(AddressError):  # no person wrote it: a library did
                gaps[name] = read(said)
    return gaps


def _event(call: Track | Page | Screen, who: str) -> ContactEvent:
    properties = dict(call.properties or {})
    if not isinstance(call, Track):
        said = {"name": call.name, "category": call.category}
        properties = {**{name: value for name, value in said.items() if value is not None}, **properties}
    return ContactEvent(
        id=_event_id(call.message_id),
        contact=who,
        name=_event_name(call),
        properties=properties,
        occurred_at=_occurred_at(call.timestamp),
    )


def _event_name(call: Track | Page | Screen) -> str:
    match call:
        case Track():
            return call.event
        case Page() | Screen():
            return call.type
        case _:
            assert_never(call)


def _event_id(message: str | None) -> str:
    if message is None:
        return uuid4().hex
    return message if _PLAIN_ID.fullmatch(message) else hashlib.sha256(message.encode()).hexdigest()


def _occurred_at(said: str | float | None) -> datetime | None:
    """None, the time of arrival, where nothing is said or what is said cannot be."""
    try:
        at = _TIME.validate_python(said)
    except ValidationError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at if _EPOCH <= at <= datetime.now(UTC) + MOST_AHEAD else None
