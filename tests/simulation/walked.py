"""A journey walked by the real workflow on the simulated clock, told in the reference interpreter's words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb
from sqlmodel.ext.asyncio.session import AsyncSession
from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from tests import services
from tests.relay.ledger import Ledger, database_settings
from tests.replay.saved import save
from waypost.journeys.document import Journey, write_journey
from waypost.journeys.happenings import (
    Answered,
    ContactChanged,
    ContactDeleted,
    Happened,
    Happening,
    Moved,
    OnResume,
    Paused,
    Receipt,
    Removed,
    Resumed,
    WaitSkipped,
)
from waypost.journeys.plan import compile_plan, write_plan
from waypost.journeys.steps import Send
from waypost.journeys.watching import watched_events, watches_contact
from waypost.messaging import ids
from waypost.messaging.values import Part
from waypost.messaging.webhooks import Answer
from waypost.segments.people import Person
from waypost.simulation.running import Simulation
from waypost.store.contact_events import ContactEvent, receive_events
from waypost.store.contacts import delete_contact
from waypost.store.enrollment_inbox import tell
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.errors import NotFoundError
from waypost.store.journey_states import pause, resume
from waypost.store.journey_tables import JourneyRow
from workflows.names import journey_workflow_id

SMS_FROM = "+14155550100"


@dataclass(frozen=True)
class Walked:
    """What came of it: visits as (step, edge), sends as (visit, part, outcome, reason, when), and the end."""

    visits: tuple[tuple[str, str | None], ...]
    sends: tuple[tuple[int, str, str, str | None], ...]
    times: tuple[datetime, ...]
    ending: tuple[str, str, str | None] | None


class NoPoster:
    """Takes every webhook but those of some steps' addresses."""

    def __init__(self, refused: frozenset[str] = frozenset()) -> None:
        self.refused = refused

    async def post(self, url: str, body: bytes, *, identity: UUID, secrets: Sequence[bytes]) -> Answer:
        taken = url not in self.refused
        return Answer(taken=taken, code="200" if taken else "404", again=False)


class Workshop:
    """One tenant with senders of two channels, and journeys that are walked one after another."""

    def __init__(self, ledger: Ledger, settings: Any, environment: WorkflowEnvironment) -> None:
        self.ledger = ledger
        self._settings = settings
        self._environment = environment
        self._count = 0

    @classmethod
    async def open(cls, database: services.Database, environment: WorkflowEnvironment) -> Workshop:
        ledger = await Ledger.open(database)
        tenant = ledger.tenant
        await ledger.execute("UPDATE provider_accounts SET rate_per_second = 100000 WHERE id = %s", (ledger.account,))
        await ledger.insert("account_budgets", account_id=ledger.account, tokens=100000)
        await ledger.execute("UPDATE senders SET is_default = true WHERE id = %s", (ledger.sender,))
        await ledger.insert(
            "senders",
            tenant_id=tenant,
            id=uuid4(),
            key="text",
            channel="sms",
            address=SMS_FROM,
            mode="test",
            account_id=ledger.account,
            is_default=True,
        )
        await ledger.insert("lists", tenant_id=tenant, id=ids.list_id(tenant=tenant, key="l"), key="l", name="L")
        return cls(ledger, database_settings(database), environment)

    async def template(self, key: str, channel: str) -> None:
        """A template that reads nothing, unless it is there."""
        tenant = self.ledger.tenant
        identity = ids.template_id(tenant=tenant, key=key)
        body = {
            "channel": channel,
            **({"subject": "Hello", "text": "Hello"} if channel == "email" else {"body": "Hello"}),
        }
        content = {"channel": channel, "default_locale": "en", "locales": {"en": body}}
        if await self.ledger.execute("SELECT id FROM templates WHERE tenant_id = %s AND id = %s", (tenant, identity)):
            return
        await self.ledger.insert(
            "templates", tenant_id=tenant, id=identity, key=key, channel=channel, current_version=1
        )
        await self.ledger.insert(
            "template_versions",
            tenant_id=tenant,
            template_id=identity,
            version=1,
            content=Jsonb(content),
            content_hash=b"",
        )

    async def publish(self, journey: Journey) -> tuple[UUID, UUID]:
        """A journey under a key of its own; its id and its version's."""
        self._count += 1
        tenant, key = self.ledger.tenant, f"{journey.journey}-{self._count}"
        identity = ids.journey_id(tenant=tenant, key=key)
        version = ids.journey_version_id(journey=identity, number=1)
        conditions = watches_contact(journey)
        await self.ledger.insert(
            "journeys",
            tenant_id=tenant,
            id=identity,
            key=key,
            name=journey.name,
            mode="test",
            draft="",
            state="active",
            version=1,
            entering=1,
            entry_kind=journey.entry.kind,
            watches_contacts=conditions,
        )
        await self.ledger.insert(
            "journey_versions",
            tenant_id=tenant,
            id=version,
            journey_id=identity,
            number=1,
            source="",
            definition=Jsonb(write_journey(journey)),
            plan=write_plan(compile_plan(journey)).decode(),
            watches=list(watched_events(journey)),
            conditions=conditions,
            published_by="test",
        )
        for step in journey.steps.values():
            if isinstance(step, Send):
                await self.template(step.template, step.channel.value)
                if step.fallback is not None:
                    await self.template(step.fallback.template, step.fallback.channel.value)
        return identity, version

    async def contact(self, person: Person) -> tuple[UUID, str]:
        """A contact like the person, under a name of its own."""
        self._count += 1
        tenant, name = self.ledger.tenant, f"{person.external_id}-{self._count}"
        identity = ids.contact_id(tenant=tenant, external_id=name)
        await self.ledger.insert(
            "contacts",
            tenant_id=tenant,
            id=identity,
            external_id=name,
            email=person.email,
            phone=person.phone,
            time_zone=person.time_zone,
            locale=person.locale,
            attributes=Jsonb(dict(person.attributes)),
        )
        return identity, name

    async def walk(
        self,
        journey: Journey,
        person: Person,
        *,
        start: datetime,
        until: datetime,
        happenings: Sequence[Happening] = (),
        data: dict[str, Any] | None = None,
        refused: frozenset[str] = frozenset(),
        keep_history: str | None = None,
    ) -> tuple[Walked, UUID]:
        """Walk it; what came of it, and the contact's id, by which splits go. `keep_history`: under this name."""
        identity, _ = await self.publish(journey)
        contact, name = await self.contact(person)
        simulation = Simulation(self._settings, self._environment, self.ledger.tenant, NoPoster(refused))
        async with simulation.running(start):
            walk = _Walk(self.ledger, simulation, self._environment, identity, contact, name)
            ordered = sorted(happenings, key=lambda one: one.at)
            for early in [one for one in ordered if one.at < start]:
                await walk.apply(early)
            await walk.enter(data or {})
            for happening in [one for one in ordered if one.at >= start and one.at <= until]:
                await simulation.advance(happening.at)
                await walk.apply(happening)
                await simulation.settle()
            await simulation.advance(until)
            walked = await walk.told()
            if keep_history is not None:
                save(keep_history, await walk.history())
            await simulation.terminate(walk.enrollments)
            await self.ledger.execute(
                "UPDATE journeys SET state = 'archived', watches_contacts = false WHERE id = %s", (identity,)
            )
            await self._end_all(identity)
        return walked, contact

    async def _end_all(self, journey: UUID) -> None:
        """Nobody is left for the next walk to wait for."""
        await self.ledger.execute(
            "UPDATE enrollments SET state = 'ended', how = 'stopped', ended_at = waypost_now(), wakes_at = NULL"
            " WHERE journey_id = %s AND state = 'open'",
            (journey,),
        )
        await self.ledger.execute(
            "UPDATE messages SET phase = 'closed', outcome = 'cancelled', outcome_reason = 'over', outcome_at = now()"
            " WHERE tenant_id = %s AND outcome IS NULL",
            (self.ledger.tenant,),
        )
        await self.ledger.execute("DELETE FROM contact_changes")
        await self.ledger.execute("DELETE FROM outbox")
        await self.ledger.execute("DELETE FROM journey_watched WHERE tenant_id = %s", (self.ledger.tenant,))


class _Walk:
    def __init__(
        self,
        ledger: Ledger,
        simulation: Simulation,
        environment: WorkflowEnvironment,
        journey: UUID,
        contact: UUID,
        name: str,
    ) -> None:
        self._ledger = ledger
        self._simulation = simulation
        self._environment = environment
        self._journey = journey
        self._contact = contact
        self._name = name
        self._enrollment: UUID | None = None

    @property
    def enrollments(self) -> list[UUID]:
        """Whoever came in."""
        return [] if self._enrollment is None else [self._enrollment]

    async def enter(self, data: dict[str, Any]) -> None:
        tenant = self._simulation.tenant
        entrance = Entrance(journey=self._journey, contact=self._contact, source="api", data=data)
        async with self._simulation.app.transaction(tenant) as connection:
            (answer,) = await enter(connection, tenant=tenant, entrances=[entrance])
        assert isinstance(answer, Entered), answer
        self._enrollment = answer.enrollment
        await self._simulation.settle()

    async def apply(self, happening: Happening) -> None:
        """What the API would do, or ingest, or a person."""
        simulation, tenant = self._simulation, self._simulation.tenant
        match happening:
            case Happened(deed=deed):
                event = ContactEvent(
                    id=str(uuid4()),
                    contact=self._name,
                    name=deed.name,
                    properties=dict(deed.properties),
                    occurred_at=deed.occurred_at,
                )
                async with simulation.app.transaction(tenant) as connection:
                    await receive_events(connection, tenant=tenant, events=[event])
            case ContactChanged():
                await self._change(happening)
            case ContactDeleted():
                with suppress(NotFoundError):  # a second time
                    async with simulation.app.transaction(tenant) as connection:
                        await delete_contact(connection, tenant, self._name)
            case Receipt():
                await self._receive(happening)
            case Answered():
                await self._tell("answer", step=happening.step, approved=happening.approved)
            case WaitSkipped():
                await self._tell("skip_wait")
            case Moved():
                await self._tell("move", step=happening.step)
            case Removed():
                await self._tell("remove")
            case Paused():
                await self._pause()
            case Resumed():
                await self._resume(happening.policy)

    async def _tell(self, what: str, /, **detail: Any) -> None:
        if self._enrollment is None:
            return
        tenant = self._simulation.tenant
        async with self._simulation.app.transaction(tenant) as connection:
            await tell(connection, tenant=tenant, enrollments=[self._enrollment], kind=what, detail=detail)

    async def _change(self, change: ContactChanged) -> None:
        tenant = self._simulation.tenant
        given = {name: value for name, value in change.attributes.items() if value is not None}
        gone = [name for name, value in change.attributes.items() if value is None]
        async with self._simulation.app.transaction(tenant) as connection:
            await connection.execute(
                "UPDATE contacts SET attributes = (attributes || %s) - %s::text[] WHERE tenant_id = %s AND id = %s",
                (Jsonb(given), gone, tenant, self._contact),
            )
            if "time_zone" in change.fields:
                await connection.execute(
                    "UPDATE contacts SET time_zone = %s WHERE tenant_id = %s AND id = %s",
                    (change.fields["time_zone"], tenant, self._contact),
                )

    async def _receive(self, receipt: Receipt) -> None:
        """As event_effects tells it: the message's row, then a note for the enrollment."""
        if self._enrollment is None:
            return
        tenant = self._simulation.tenant
        source = ids.visit_id(enrollment=self._enrollment, number=receipt.visit)
        message = ids.message_id(tenant=tenant, source_id=source, part=Part.PRIMARY)
        delivered = receipt.kind == "delivered"
        async with self._simulation.relay.transaction() as connection:
            await connection.execute(
                "UPDATE messages SET delivery = CASE WHEN %(d)s THEN 'delivered' ELSE delivery END,"
                " bounced = bounced OR NOT %(d)s WHERE tenant_id = %(t)s AND id = %(m)s AND outcome = 'sent'",
                {"d": delivered, "t": tenant, "m": message},
            )
            await connection.execute(
                "UPDATE messages SET due_at = LEAST(due_at, waypost_now()) WHERE tenant_id = %s AND primary_id = %s"
                " AND outcome IS NULL AND due_at IS NOT NULL AND NOT %s",
                (tenant, message, delivered),
            )
        await self._tell("receipt", visit=receipt.visit, kind=receipt.kind.value)

    async def _pause(self) -> None:
        async with self._simulation.app.session(self._simulation.tenant) as session:
            await pause(session, await self._row(session), actor="test")

    async def _resume(self, policy: OnResume) -> None:
        async with self._simulation.app.session(self._simulation.tenant) as session:
            await resume(session, await self._row(session), policy, actor="test")

    async def _row(self, session: AsyncSession) -> JourneyRow:
        row = await session.get(JourneyRow, (self._simulation.tenant, self._journey))
        assert row is not None
        return row

    async def history(self) -> WorkflowHistory:
        """Of its execution."""
        assert self._enrollment is not None
        client = self._environment.client
        return await client.get_workflow_handle(journey_workflow_id(self._enrollment)).fetch_history()

    async def told(self) -> Walked:
        """The rows, in the interpreter's words."""
        execute = self._ledger.execute
        visits = await execute(
            "SELECT number, step, edge, why FROM enrollment_visits WHERE enrollment_id = %s ORDER BY number",
            (self._enrollment,),
        )
        messages = await execute(
            "SELECT metadata ->> 'visit' AS visit, part, outcome, outcome_reason, outcome_at FROM messages"
            " WHERE enrollment_id = %s AND outcome IS NOT NULL AND outcome <> 'cancelled' ORDER BY outcome_at, id",
            (self._enrollment,),
        )
        (enrollment,) = await execute("SELECT * FROM enrollments WHERE id = %s", (self._enrollment,))
        ending = None
        if enrollment["state"] == "ended":
            ending = (enrollment["how"], enrollment["reason"], enrollment["step"])
        return Walked(
            visits=tuple((row["step"], row["edge"]) for row in visits),
            sends=tuple(
                (
                    int(row["visit"]),
                    row["part"],
                    row["outcome"],
                    None if row["outcome"] == "sent" else row["outcome_reason"],
                )
                for row in messages
            ),
            times=tuple(row["outcome_at"] for row in messages),
            ending=ending,
        )
