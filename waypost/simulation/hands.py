"""What the script says, done as the API, a person, or the tenant's product would do it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from waypost.messaging import ids
from waypost.messaging.values import Mode
from waypost.simulation.cases import Case
from waypost.simulation.laying import Laid
from waypost.simulation.running import Simulation
from waypost.simulation.script import (
    AnswerEntry,
    Change,
    ChangeEntry,
    DeleteEntry,
    EventEntry,
    MoveEntry,
    PauseEntry,
    RemoveEntry,
    ResumeEntry,
    SkipEntry,
    TimedEntry,
)
from waypost.store.contact_events import ContactEvent, receive_events
from waypost.store.contacts import Contact, delete_contact, get_contact, put_contacts
from waypost.store.enrollment_inbox import tell
from waypost.store.enrollments import Asked, Enrollment, list_enrollments
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.journey_states import lock_journey, pause, resume
from waypost.store.lists import add_members, remove_members
from waypost.store.subscriptions import say

_ACTOR = "simulation"
_FIELDS = ("email", "phone", "time_zone", "locale")
_MANY = 1_000


class Hands:
    """One contact, and those who do something about it."""

    def __init__(self, simulation: Simulation, laid: Laid, case: Case) -> None:
        self._simulation = simulation
        self._laid = laid
        self._case = case
        self._count = 0

    async def enroll(self, data: Mapping[str, Any]) -> str | None:
        """Let the contact in; why it may not enter, where it may not."""
        entrance = Entrance(journey=self._laid.journey, contact=self._laid.contact, source="api", data=data)
        async with self._simulation.app.transaction(self._laid.tenant) as connection:
            (answer,) = await enter(connection, tenant=self._laid.tenant, entrances=[entrance])
        return None if isinstance(answer, Entered) else answer.reason

    async def people(self) -> list[Enrollment]:
        """The contact's enrollments, in the order in which it came in."""
        async with self._simulation.app.transaction(self._laid.tenant) as connection:
            found, _ = await list_enrollments(
                connection, tenant=self._laid.tenant, journey=self._laid.journey, asked=Asked(), after=None, limit=_MANY
            )
        return found

    async def do(self, entry: TimedEntry, at: datetime) -> str | None:
        """Do what an entry says; why it came to nothing, where it did."""
        match entry:
            case EventEntry():
                return await self._happen(entry, at)
            case ChangeEntry():
                return await self._change(entry.change)
            case DeleteEntry():
                return await self._delete()
            case AnswerEntry():
                return await self._tell(entry.key, "answer", step=entry.step, approved=entry.answer)
            case SkipEntry():
                return await self._tell(entry.key, "skip_wait")
            case MoveEntry():
                if entry.move not in self._case.journey.steps:
                    return f"there is no step {entry.move}"
                return await self._tell(entry.key, "move", step=entry.move)
            case RemoveEntry():
                return await self._tell(entry.key, "remove")
            case PauseEntry() | ResumeEntry():
                return await self._pause_or_resume(entry)
            case _:
                assert_never(entry)

    async def _happen(self, entry: EventEntry, at: datetime) -> str | None:
        self._count += 1
        event = ContactEvent(
            id=entry.id or f"simulation-{self._count}",
            contact=self._case.contact.id,
            name=entry.event,
            properties=entry.properties,
            occurred_at=at,
        )
        async with self._simulation.app.transaction(self._laid.tenant) as connection:
            received = await receive_events(connection, tenant=self._laid.tenant, events=[event], mode=Mode.TEST)
        ((_, taken),) = received.events
        return None if taken.value == "accepted" else taken.value

    async def _change(self, change: Change) -> str | None:
        simulation, tenant, name = self._simulation, self._laid.tenant, self._case.contact.id
        try:
            async with simulation.app.session(tenant) as session:
                row = await get_contact(session, tenant, name)
        except NotFoundError:
            return "the contact is deleted"
        said = change.model_dump(exclude_unset=True)
        merged = {**row.attributes, **change.attributes}
        contact = Contact(
            external_id=name,
            **{field: said.get(field, getattr(row, field)) for field in _FIELDS},
            attributes={key: value for key, value in merged.items() if value is not None},
            consent={**row.consent, **{channel.value: word for channel, word in change.consent.items()}},
        )
        wanted = {**dict.fromkeys(change.subscribe, True), **dict.fromkeys(change.unsubscribe, False)}
        async with simulation.app.transaction(tenant) as connection:
            if said.keys() & {*_FIELDS, "attributes", "consent"}:
                await put_contacts(connection, tenant, [contact])
            for key in change.join:
                await add_members(connection, tenant, key, [name])
            for key in change.leave:
                await remove_members(connection, tenant, key, [name])
            topics = {ids.topic_id(tenant=tenant, key=key): word for key, word in wanted.items()}
            if topics:
                whom = self._laid.contact
                await say(connection, tenant=tenant, contact=whom, wanted=topics, source=_ACTOR, confirmed=True)
        return None

    async def _delete(self) -> str | None:
        try:
            async with self._simulation.app.transaction(self._laid.tenant) as connection:
                await delete_contact(connection, self._laid.tenant, self._case.contact.id)
        except NotFoundError:
            return "the contact is deleted already"
        return None

    async def _tell(self, key: str | None, what: str, /, **detail: Any) -> str | None:
        people = [one for one in await self.people() if one.state == "open" and key in (None, one.entry_key)]
        if not people:
            return "nobody is in the journey"
        if (refusal := _misplaced(people, what, detail, self._case)) is not None:
            return refusal
        async with self._simulation.app.transaction(self._laid.tenant) as connection:
            whom: Sequence[UUID] = [one.id for one in people]
            await tell(connection, tenant=self._laid.tenant, enrollments=whom, kind=what, detail=detail)
        return None

    async def _pause_or_resume(self, entry: PauseEntry | ResumeEntry) -> str | None:
        tenant, key = self._laid.tenant, self._case.journey.journey
        try:
            async with self._simulation.app.session(tenant) as session:
                journey = await lock_journey(session, tenant, key, mode=Mode.TEST)
                if isinstance(entry, PauseEntry):
                    await pause(session, journey, actor=_ACTOR)
                else:
                    await resume(session, journey, entry.resume, actor=_ACTOR)
        except ConflictError as error:
            return str(error)
        return None


def _misplaced(people: Sequence[Enrollment], what: str, detail: Mapping[str, Any], case: Case) -> str | None:
    """Why an answer or skip fits nobody where they are: the API would refuse it."""
    kinds = {one.step: case.journey.steps[one.step].kind for one in people if one.step in case.journey.steps}
    if what == "answer" and kinds.get(detail["step"]) != "approval":
        return f"nobody waits for an approval at {detail['step']}"
    if what == "skip_wait" and not {"wait", "wait_for", "approval"} & set(kinds.values()):
        return "nobody waits"
    return None
