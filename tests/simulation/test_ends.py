"""How a walk ends, or goes on, when the world around it changes: the real workflow on the simulated clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.testing import WorkflowEnvironment

from tests import services
from tests.journeys.examples import ANN, MONDAY, small
from tests.relay.ledger import Ledger, database_settings
from tests.simulation.walked import NoPoster, Workshop
from waypost.messaging import ids
from waypost.messaging.values import TenantState
from waypost.simulation.running import Simulation
from waypost.store.contact_events import ContactEvent, receive_events
from waypost.store.contact_merging import merge_contact
from waypost.store.contacts import delete_contact
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.journey_driving import end_of_closed_tenants
from waypost.store.journey_people import remove_people
from waypost.store.journey_states import archive
from waypost.store.journey_tables import JourneyRow
from waypost.store.sweeps import cancel_of_closed_tenants
from waypost.store.tenants import move_tenant

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REFUSED = "https://refused.example/"

SENDS = """
    a: {kind: send, channel: email, template: t, fallback: {channel: sms, template: u, after: PT4H}, next: w}
    w: {kind: wait, for: P1D, next: b}
    b: {kind: send, channel: email, template: t, next: end}
    """
QUIET = 'quiet_hours: {start: "08:00", end: "18:00"}\ngoal: {name: bought, event: bought}'
ONE = "a: {kind: send, channel: email, template: t, next: end}"


@dataclass
class Walk:
    """One contact in one journey."""

    ledger: Ledger
    simulation: Simulation
    journey: UUID
    contact: UUID
    name: str
    enrollment: UUID

    async def row(self) -> dict[str, Any]:
        return (await self.ledger.execute("SELECT * FROM enrollments WHERE id = %s", (self.enrollment,)))[0]

    async def ending(self) -> tuple[str | None, str | None]:
        row = await self.row()
        return row["how"], row["reason"]

    async def messages(self) -> list[tuple[Any, ...]]:
        """Visit, part, outcome and its reason."""
        rows = await self.ledger.execute(
            "SELECT metadata ->> 'visit' AS visit, part, outcome, outcome_reason FROM messages"
            " WHERE enrollment_id = %s ORDER BY 1, part DESC",
            (self.enrollment,),
        )
        return [(int(row["visit"]), row["part"], row["outcome"], row["outcome_reason"]) for row in rows]

    async def why(self, step: str) -> dict[str, Any]:
        rows = await self.ledger.execute(
            "SELECT why, edge FROM enrollment_visits WHERE enrollment_id = %s AND step = %s", (self.enrollment, step)
        )
        return {**rows[0]["why"], "edge": rows[0]["edge"]}

    async def tenant_is(self, state: TenantState) -> None:
        async with self.simulation.relay.session() as session:
            await move_tenant(session, self.ledger.tenant, state)

    async def to(self, moment: datetime) -> None:
        await self.simulation.advance(moment)


class Walks:
    """Walks of one tenant."""

    def __init__(self, workshop: Workshop, database: services.Database, environment: WorkflowEnvironment) -> None:
        self.workshop = workshop
        self.ledger = workshop.ledger
        self._settings = database_settings(database)
        self._environment = environment

    @asynccontextmanager
    async def of(self, steps: str, *, head: str = "", start: str = "a") -> AsyncIterator[Walk]:
        """Ann enters on Monday; afterwards nobody is under way."""
        tenant = self.ledger.tenant
        journey, _ = await self.workshop.publish(small(steps, head=head, start=start))
        contact, name = await self.workshop.contact(ANN)
        simulation = Simulation(self._settings, self._environment, tenant, NoPoster(frozenset({REFUSED})))
        async with simulation.running(MONDAY):
            entrance = Entrance(journey=journey, contact=contact, source="api", data={"n": "secret"})
            async with simulation.app.transaction(tenant) as connection:
                (answer,) = await enter(connection, tenant=tenant, entrances=[entrance])
            assert isinstance(answer, Entered)
            await simulation.settle()
            yield Walk(self.ledger, simulation, journey, contact, name, answer.enrollment)


@pytest.fixture
async def walks(module_database: services.Database, environment: WorkflowEnvironment) -> AsyncIterator[Walks]:
    workshop = await Workshop.open(module_database, environment)
    yield Walks(workshop, module_database, environment)
    await workshop.ledger.execute(
        "UPDATE enrollments SET state = 'ended', how = 'stopped', ended_at = waypost_now() WHERE state = 'open'"
    )
    await workshop.ledger.execute("DELETE FROM outbox")
    await workshop.ledger.execute("DELETE FROM contact_changes")
    await workshop.ledger.close()


async def test_whose_contact_is_deleted_ends_at_once_and_keeps_nothing(walks: Walks) -> None:
    async with walks.of(SENDS) as walk:
        await walk.to(MONDAY + HOUR)
        async with walk.simulation.app.transaction(walk.ledger.tenant) as connection:
            await delete_contact(connection, walk.ledger.tenant, walk.name)
        await walk.simulation.settle()
        row = await walk.row()
        assert (row["how"], row["reason"], row["data"]) == ("contact_deleted", "contact_deleted", {})
        assert row["ended_at"] - MONDAY < 2 * HOUR
        await walk.to(MONDAY + 3 * DAY)
        assert [one[:3] for one in await walk.messages()] == [(1, "primary", "sent"), (1, "fallback", "cancelled")]


async def test_a_walk_that_is_over_forgets_what_it_carried_with_its_contact(walks: Walks) -> None:
    async with walks.of(ONE) as walk:
        assert (await walk.row())["data"] == {"n": "secret"}
        assert await walk.ending() == ("completed", "completed")
        async with walk.simulation.app.transaction(walk.ledger.tenant) as connection:
            await delete_contact(connection, walk.ledger.tenant, walk.name)
        assert (await walk.row())["data"] == {}


async def test_who_is_merged_into_another_leaves_and_the_other_does_not_enter(walks: Walks) -> None:
    async with walks.of(SENDS) as walk:
        await walk.to(MONDAY + HOUR)
        async with walk.simulation.app.transaction(walk.ledger.tenant) as connection:
            assert await merge_contact(connection, walk.ledger.tenant, previous=walk.name, into="one-and-the-same")
        await walk.to(MONDAY + 3 * DAY)
        assert await walk.ending() == ("contact_deleted", "contact_deleted")
        assert [one[:3] for one in await walk.messages()] == [(1, "primary", "sent"), (1, "fallback", "cancelled")]
        other = ids.contact_id(tenant=walk.ledger.tenant, external_id="one-and-the-same")
        assert await walk.ledger.execute("SELECT id FROM enrollments WHERE contact_id = %s", (other,)) == []


async def test_of_a_suspended_tenant_nothing_is_sent_until_it_goes_on(walks: Walks) -> None:
    async with walks.of("w: {kind: wait, for: PT10M, next: a}\n" + ONE, start="w") as walk:
        await walk.to(MONDAY + timedelta(minutes=5))
        await walk.tenant_is(TenantState.SUSPENDED)
        await walk.to(MONDAY + HOUR)
        assert await walk.messages() == []
        assert (await walk.row())["state"] == "open"
        await walk.tenant_is(TenantState.ACTIVE)
        await walk.to(MONDAY + 2 * HOUR)
        assert await walk.ending() == ("completed", "completed")
        assert [one[2] for one in await walk.messages()] == ["sent"]


async def test_of_a_closing_tenant_everybody_leaves_and_nothing_is_sent(walks: Walks) -> None:
    async with walks.of(SENDS) as walk:
        await walk.to(MONDAY + HOUR)
        await walk.ledger.execute("UPDATE tenants SET state = 'closing' WHERE id = %s", (walk.ledger.tenant,))
        async with walk.simulation.relay.transaction() as connection:
            assert await end_of_closed_tenants(connection, limit=100) == 1
            assert await cancel_of_closed_tenants(connection, limit=100) == 1
        await walk.to(MONDAY + 3 * DAY)
        assert await walk.ending() == ("tenant_closed", "tenant_closed")
        assert [one[:3] for one in await walk.messages()] == [(1, "primary", "sent"), (1, "fallback", "cancelled")]


async def test_who_wakes_in_a_closing_tenant_leaves_by_itself(walks: Walks) -> None:
    async with walks.of(SENDS) as walk:
        await walk.to(MONDAY + HOUR)
        await walk.ledger.execute("UPDATE tenants SET state = 'closing' WHERE id = %s", (walk.ledger.tenant,))
        await walk.ledger.execute("SELECT waypost_wake(ARRAY[%s::uuid])", (walk.enrollment,))
        await walk.simulation.settle()
        assert await walk.ending() == ("tenant_closed", "tenant_closed")
        assert [one[:3] for one in await walk.messages()] == [(1, "primary", "sent"), (1, "fallback", "cancelled")]


async def test_who_leaves_a_topic_is_not_sent_it_and_walks_on(walks: Walks) -> None:
    tenant = walks.ledger.tenant
    topic = ids.topic_id(tenant=tenant, key="news")
    await walks.ledger.insert("topics", tenant_id=tenant, id=topic, key="news", name="News")
    steps = """
        w: {kind: wait, for: P1D, next: n}
        n: {kind: send, channel: email, template: t, topic: news, next: a}
        a: {kind: send, channel: email, template: t, next: end}
        """
    async with walks.of(steps, start="w") as walk:
        await walk.ledger.insert(
            "topic_subscriptions", tenant_id=tenant, topic_id=topic, contact_id=walk.contact, state="unsubscribed"
        )
        await walk.to(MONDAY + 2 * DAY)
        assert [one[2:] for one in await walk.messages()] == [
            ("suppressed", "topic_unsubscribed"),
            ("sent", "accepted"),
        ]
        assert (await walk.why("n"))["outcome"] == "suppressed"
        assert await walk.ending() == ("completed", "completed")


async def test_who_is_suppressed_on_the_way_is_sent_no_more_and_walks_on(walks: Walks) -> None:
    async with walks.of("w: {kind: wait, for: P1D, next: a}\n" + ONE, start="w") as walk:
        await walk.ledger.insert(
            "suppressions",
            tenant_id=walk.ledger.tenant,
            id=uuid4(),
            channel="email",
            address=ANN.email,
            reason="complaint",
        )
        await walk.to(MONDAY + 2 * DAY)
        assert [one[2] for one in await walk.messages()] == ["suppressed"]
        assert await walk.ending() == ("completed", "completed")


async def test_who_reaches_the_goal_in_quiet_hours_is_never_sent_what_waited(walks: Walks) -> None:
    async with walks.of(ONE, head=QUIET) as walk:
        await walk.to(MONDAY + HOUR)
        assert [one[2] for one in await walk.messages()] == [None]
        event = ContactEvent(
            id="e1", contact=walk.name, name="bought", properties={}, occurred_at=walk.simulation.clock.now()
        )
        async with walk.simulation.app.transaction(walk.ledger.tenant) as connection:
            await receive_events(connection, tenant=walk.ledger.tenant, events=[event])
        await walk.to(MONDAY + 2 * DAY)
        assert await walk.ending() == ("goal", "bought")
        assert await walk.messages() == [(1, "primary", "cancelled", "journey_left")]


async def test_an_archived_journey_takes_everybody_out_where_it_is_asked_to(walks: Walks) -> None:
    async with walks.of(SENDS) as walk:
        await walk.to(MONDAY + HOUR)
        tenant = walk.ledger.tenant
        async with walk.simulation.app.session(tenant) as session:
            row = await session.get(JourneyRow, (tenant, walk.journey))
            assert row is not None
            await archive(session, row, actor="test", remove=True)
        async with walk.simulation.app.transaction(tenant) as connection:
            gone = await remove_people(connection, tenant=tenant, journey=walk.journey, after=UUID(int=0))
        assert gone.moved == 1
        await walk.to(MONDAY + 3 * DAY)
        assert await walk.ending() == ("removed", "removed")
        assert [one[:3] for one in await walk.messages()] == [(1, "primary", "sent"), (1, "fallback", "cancelled")]


@pytest.mark.parametrize(
    ("fields", "edge", "ended"),
    [("on_failure: x, ", "on_failure", ("exit", "out")), ("", "next", ("completed", "completed"))],
)
async def test_a_webhook_that_nobody_takes_leads_where_the_journey_says(
    walks: Walks, fields: str, edge: str, ended: tuple[str, str]
) -> None:
    # Both ways have the exit, that it is no step which nothing leads to.
    steps = f"""
        a: {{kind: webhook, url: "{REFUSED}", {fields}next: b}}
        b: {{kind: branch, choices: [{{when: {{kind: list, key: l}}, next: x}}], else: end}}
        x: {{kind: exit, reason: out}}
        """
    async with walks.of(steps) as walk:
        why = await walk.why("a")
        assert (why["edge"], why["code"], why["taken"], why["tries"]) == (edge, "404", False, 1)
        assert await walk.ending() == ended
