"""Events lead to whom they concern: who begins with them, who watches for them, and to nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from tests.relay.ledger import Ledger
from tests.store.journey_rows import add_contact, add_journey, document, enrollments
from waypost.messaging import ids
from waypost.messaging.values import Mode
from waypost.store.contact_events import ContactEvent, Received, receive_events
from waypost.store.contacts import delete_contact
from waypost.store.database import Database
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.event_routing import Routed, route_events
from waypost.store.outbox import take_hints

SIGNED_UP = {"kind": "event", "event": "signed_up"}
BUYS = {
    "kind": "wait_for",
    "for": {"event": "bought"},
    "timeout": "P2D",
    "next": "end",
    "on_timeout": "end",
}


def _buying(key: str, **fields: Any) -> dict[str, Any]:
    return document(key, start="buys", steps={"buys": BUYS}, **fields)


def _event(key: str, contact: str, name: str, **properties: Any) -> ContactEvent:
    return ContactEvent(id=key, contact=contact, name=name, properties=properties)


async def _receive(app: Database, ledger: Ledger, *events: ContactEvent, depth: int = 0) -> Received:
    async with app.transaction(ledger.tenant) as connection:
        return await receive_events(connection, tenant=ledger.tenant, events=events, depth=depth)


async def _waiting(app: Database, ledger: Ledger, journey: UUID, contact: UUID, *awaits: str) -> UUID:
    """An enrollment that rests and awaits these."""
    async with app.transaction(ledger.tenant) as connection:
        entrance = Entrance(journey=journey, contact=contact, source="api")
        (answer,) = await enter(connection, tenant=ledger.tenant, entrances=[entrance])
    assert isinstance(answer, Entered)
    await ledger.execute("UPDATE enrollments SET awaits = %s WHERE id = %s", (list(awaits), answer.enrollment))
    return answer.enrollment


async def _inbox(ledger: Ledger, enrollment: UUID) -> list[dict[str, Any]]:
    return await ledger.execute("SELECT * FROM enrollment_inbox WHERE enrollment_id = %s ORDER BY id", (enrollment,))


async def _woken(ledger: Ledger, enrollments: Sequence[UUID]) -> list[str]:
    names = [f"journey/{enrollment}" for enrollment in enrollments]
    rows = await ledger.execute("SELECT workflow_id FROM outbox WHERE workflow_id = ANY(%s) ORDER BY id", (names,))
    return [row["workflow_id"].removeprefix("journey/") for row in rows]


async def test_an_event_that_a_journey_begins_with_brings_its_contact_in(app: Database, ledger: Ledger) -> None:
    entry = SIGNED_UP | {"where": [{"property": "plan", "is": {"op": "eq", "value": "pro"}}], "expects": ["plan"]}
    journey = await add_journey(ledger, document("onboarding", entry=entry))
    ann = await add_contact(ledger, "ann")
    await add_contact(ledger, "bob")
    received = await _receive(
        app,
        ledger,
        _event("1", "ann", "signed_up", plan="pro", seats=3),
        _event("2", "bob", "signed_up", plan="free"),
        _event("3", "ann", "opened", plan="pro"),
        depth=4,
    )
    assert received.routed == Routed(entered=1)
    (row,) = await enrollments(ledger, journey)
    assert (row["contact_id"], row["source"], row["depth"]) == (ann, "event", 4)
    assert row["data"] == {"plan": "pro", "seats": 3}


async def test_an_event_that_comes_twice_brings_nobody_in_twice(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("again", entry=SIGNED_UP, reentry={"after": "PT1S"}))
    await add_contact(ledger, "ann")
    twice = [_event("1", "ann", "signed_up"), _event("1", "ann", "signed_up")]
    assert (await _receive(app, ledger, *twice)).routed == Routed(entered=1)
    assert (await _receive(app, ledger, *twice)).routed == Routed()
    assert len(await enrollments(ledger, journey)) == 1


async def test_each_value_of_the_key_brings_the_contact_in_once(app: Database, ledger: Ledger) -> None:
    entry = {"kind": "event", "event": "ordered", "key": "order.id"}
    journey = await add_journey(ledger, document("orders", entry=entry, reentry="per_key"))
    await add_contact(ledger, "ann")
    orders: list[Any] = [7, "8", 7, None, {"a": 1}]
    received = await _receive(
        app, ledger, *(_event(str(n), "ann", "ordered", order={"id": order}) for n, order in enumerate(orders))
    )
    assert received.routed == Routed(entered=2)
    assert sorted(row["entry_key"] for row in await enrollments(ledger, journey)) == ["7", "8"]


async def test_who_watches_is_told_in_order_and_woken_once_if_it_waits_for_it_now(
    app: Database, ledger: Ledger
) -> None:
    exits = [{"reason": "gone", "event": "left"}]
    journey = await add_journey(ledger, _buying("watching", exits=exits))
    ann, bob, eve = [await add_contact(ledger, name) for name in ("ann", "bob", "eve")]
    waits = await _waiting(app, ledger, journey, ann, "bought", "left")
    walks = await _waiting(app, ledger, journey, bob)
    other = await _waiting(app, ledger, journey, eve, "bought", "left")
    received = await _receive(
        app,
        ledger,
        _event("1", "ann", "bought"),
        _event("2", "bob", "left"),
        _event("3", "ann", "looked"),
        _event("4", "ann", "left"),
    )
    assert received.routed == Routed(told=3, woken=1)
    told = await _inbox(ledger, waits)
    assert [row["event_id"] for row in told] == [ids.contact_event_id(tenant=ledger.tenant, key=k) for k in ("1", "4")]
    assert {(row["kind"], row["event_month"]) for row in told} == {("event", await ledger.month())}
    assert len(await _inbox(ledger, walks)) == 1
    assert await _inbox(ledger, other) == []
    assert await _woken(ledger, [waits, walks, other]) == [str(waits)]
    await _receive(app, ledger, _event("5", "ann", "bought"))
    assert await _woken(ledger, [waits]) == [str(waits)]  # one hint says it all


async def test_who_enters_is_told_of_what_came_later_in_the_same_batch_and_of_nothing_before(
    app: Database, ledger: Ledger
) -> None:
    journey = await add_journey(ledger, _buying("same-batch", entry=SIGNED_UP))
    await add_contact(ledger, "ann")
    await add_contact(ledger, "bob")
    events = [("1", "ann", "bought"), ("2", "ann", "signed_up"), ("3", "bob", "bought"), ("4", "ann", "bought")]
    received = await _receive(app, ledger, *(_event(*event) for event in events))
    assert received.routed == Routed(entered=1, told=1)
    (row,) = await enrollments(ledger, journey)
    (told,) = await _inbox(ledger, row["id"])
    assert told["event_id"] == ids.contact_event_id(tenant=ledger.tenant, key="4")


async def test_an_enrollment_that_is_over_is_told_nothing(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, _buying("over"))
    ann = await add_contact(ledger, "ann")
    enrollment = await _waiting(app, ledger, journey, ann, "bought")
    await ledger.execute(
        "UPDATE enrollments SET state = 'ended', how = 'goal', ended_at = waypost_now() WHERE id = %s", (enrollment,)
    )
    assert (await _receive(app, ledger, _event("1", "ann", "bought"))).routed == Routed()


async def test_a_test_keys_events_lead_to_no_journey_that_sends_for_real(app: Database, ledger: Ledger) -> None:
    journeys = {
        mode: [
            await add_journey(ledger, document(f"begins-{mode}", entry=SIGNED_UP), mode=mode),
            await add_journey(ledger, _buying(f"buys-{mode}"), mode=mode),
        ]
        for mode in Mode
    }
    ann = await add_contact(ledger, "ann")
    waiting = {mode: await _waiting(app, ledger, buys, ann, "bought") for mode, (_, buys) in journeys.items()}
    events = [_event("1", "ann", "bought"), _event("2", "ann", "signed_up")]
    async with app.transaction(ledger.tenant) as connection:
        received = await receive_events(connection, tenant=ledger.tenant, events=events, mode=Mode.TEST)
    assert received.routed == Routed(entered=1, told=1, woken=1)
    assert len(await enrollments(ledger, journeys[Mode.TEST][0])) == 1
    assert len(await _inbox(ledger, waiting[Mode.TEST])) == 1


async def test_events_known_by_id_are_led_on_the_same_way(app: Database, ledger: Ledger) -> None:
    ann = await add_contact(ledger, "ann")
    received = await _receive(app, ledger, _event("1", "ann", "bought"))
    waits = await _waiting(app, ledger, await add_journey(ledger, _buying("by-id")), ann, "bought")
    async with app.transaction(ledger.tenant) as connection:
        events = [row for row, _ in received.events]
        assert await route_events(connection, tenant=ledger.tenant, events=events) == Routed(told=1, woken=1)
    assert len(await _inbox(ledger, waits)) == 1


async def test_an_event_waits_for_a_decision_that_is_being_made_and_sees_what_it_awaits(
    app: Database, ledger: Ledger
) -> None:
    journey = await add_journey(ledger, _buying("deciding"))
    ann = await add_contact(ledger, "ann")
    enrollment = await _waiting(app, ledger, journey, ann)
    async with app.transaction(ledger.tenant) as deciding:
        await deciding.execute("SELECT id FROM enrollments WHERE id = %s FOR NO KEY UPDATE", (enrollment,))
        receiving = asyncio.create_task(_receive(app, ledger, _event("1", "ann", "bought")))
        await asyncio.sleep(0.1)
        await deciding.execute("UPDATE enrollments SET awaits = '{bought}' WHERE id = %s", (enrollment,))
    assert (await receiving).routed == Routed(told=1, woken=1)


async def test_a_hint_that_is_just_being_delivered_does_not_count_for_what_comes_now(
    app: Database, loops: Database, ledger: Ledger
) -> None:
    journey = await add_journey(ledger, _buying("delivering"))
    ann = await add_contact(ledger, "ann")
    enrollment = await _waiting(app, ledger, journey, ann, "bought")
    await _receive(app, ledger, _event("1", "ann", "bought"))
    async with loops.transaction() as delivering:
        assert await take_hints(delivering, limit=100)
        await _receive(app, ledger, _event("2", "ann", "bought"))
    assert await _woken(ledger, [enrollment]) == [str(enrollment)] * 2


@pytest.mark.parametrize("named", ["bought", "looked"])
async def test_an_events_own_time_and_month_are_told(app: Database, ledger: Ledger, named: str) -> None:
    journey = await add_journey(ledger, _buying(f"late-{named}"))
    ann = await add_contact(ledger, "ann")
    waits = await _waiting(app, ledger, journey, ann, "bought")
    past = datetime(2026, 3, 5, tzinfo=UTC)
    await _receive(app, ledger, ContactEvent(id="1", contact="ann", name=named, occurred_at=past))
    assert [row["event_month"] for row in await _inbox(ledger, waits)] == [past.date().replace(day=1)] * (
        named == "bought"
    )


async def test_whose_contact_is_deleted_is_woken_whatever_it_awaits(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, _buying("deleted"))
    ann, bob = await add_contact(ledger, "ann"), await add_contact(ledger, "bob")
    gone, stays = await _waiting(app, ledger, journey, ann), await _waiting(app, ledger, journey, bob)
    async with app.transaction(ledger.tenant) as connection:
        await delete_contact(connection, ledger.tenant, "ann")
    assert [row["kind"] for row in await _inbox(ledger, gone)] == ["look"]
    assert await _inbox(ledger, stays) == []
    assert await _woken(ledger, [gone, stays]) == [str(gone)]
