"""Coming into a journey: who may, who may not and why, and that nobody is in twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.relay.ledger import Ledger
from tests.store.journey_rows import add_contact, add_journey, add_version, document, end, enrollments
from waypost.messaging import ids
from waypost.store.database import Database
from waypost.store.entering import Entered, Entrance, NotEntered, enter


async def _enter(app: Database, ledger: Ledger, *entrances: Entrance) -> list[Entered | NotEntered]:
    async with app.transaction(ledger.tenant) as connection:
        return await enter(connection, tenant=ledger.tenant, entrances=entrances)


def _through(journey: UUID, contact: UUID, **more: Any) -> Entrance:
    return Entrance(journey=journey, contact=contact, source="api", **more)


def _reasons(answers: list[Entered | NotEntered]) -> list[str]:
    return [answer.reason if isinstance(answer, NotEntered) else "in" for answer in answers]


async def test_who_enters_has_a_row_that_says_with_what_and_is_not_started(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("one"))
    ann = await add_contact(ledger, "ann")
    (answer,) = await _enter(app, ledger, _through(journey, ann, data={"plan": "pro", "n": [1, None]}, depth=2))
    assert isinstance(answer, Entered)
    (row,) = await enrollments(ledger, journey)
    assert row["id"] == answer.enrollment == ids.enrollment_id(journey=journey, contact=ann, key="", number=1)
    assert row["version_id"] == answer.version == ids.journey_version_id(journey=journey, number=1)
    assert (row["state"], row["mode"], row["source"], row["depth"]) == ("open", "test", "api", 2)
    assert (row["data"], row["started_at"], row["number"]) == ({"plan": "pro", "n": [1, None]}, None, 1)


async def test_nobody_enters_again_while_in_nor_twice_in_one_batch(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("twice", reentry="after_exit"))
    ann, bob = await add_contact(ledger, "ann"), await add_contact(ledger, "bob")
    first, second, other = await _enter(
        app, ledger, _through(journey, ann), _through(journey, ann), _through(journey, bob)
    )
    assert isinstance(first, Entered) and isinstance(other, Entered)
    assert second == NotEntered(entrance=second.entrance, reason="already_in", enrollment=first.enrollment)
    (again,) = await _enter(app, ledger, _through(journey, ann))
    assert isinstance(again, NotEntered) and (again.reason, again.enrollment) == ("already_in", first.enrollment)
    await end(ledger, first.enrollment)
    (third,) = await _enter(app, ledger, _through(journey, ann))
    assert isinstance(third, Entered)
    assert [row["number"] for row in await enrollments(ledger, journey) if row["contact_id"] == ann] == [1, 2]


@pytest.mark.parametrize(
    ("reentry", "ago", "expected"),
    [
        ("once", timedelta(days=400), "only_once"),
        ("after_exit", timedelta(), "in"),
        ({"after": "P30D"}, timedelta(days=29), "cooling_down"),
        ({"after": "P30D"}, timedelta(days=31), "in"),
    ],
)
async def test_who_has_been_in_may_come_again_as_the_journey_says(
    app: Database, ledger: Ledger, reentry: Any, ago: timedelta, expected: str
) -> None:
    journey = await add_journey(ledger, document("again", reentry=reentry))
    ann = await add_contact(ledger, "ann")
    (first,) = await _enter(app, ledger, _through(journey, ann))
    assert isinstance(first, Entered)
    await end(ledger, first.enrollment, entered_ago=ago)
    assert _reasons(await _enter(app, ledger, _through(journey, ann))) == [expected]


async def test_each_key_is_a_journey_of_its_own(app: Database, ledger: Ledger) -> None:
    entry = {"kind": "event", "event": "ordered", "key": "order"}
    journey = await add_journey(ledger, document("keyed", entry=entry, reentry="per_key"))
    ann = await add_contact(ledger, "ann")
    answers = await _enter(app, ledger, *(_through(journey, ann, key=key) for key in ("a", "b", "a")))
    assert _reasons(answers) == ["in", "in", "already_in"]


async def test_nobody_enters_where_there_is_no_way_in(app: Database, ledger: Ledger) -> None:
    ann = await add_contact(ledger, "ann")
    draft = await add_journey(ledger, document("draft"), state="draft")
    archived = await add_journey(ledger, document("archived"), state="archived")
    paused = await add_journey(ledger, document("paused"), state="paused", pauses=3)
    live = await add_journey(ledger, document("live"), pauses=3)
    answers = await _enter(
        app,
        ledger,
        _through(draft, ann),
        _through(archived, ann),
        _through(uuid4(), ann),
        _through(live, uuid4()),
        _through(live, ann, depth=11),
        _through(paused, ann),
        _through(live, ann, depth=10),
    )
    assert _reasons(answers) == ["not_active"] * 3 + ["unknown_contact", "too_deep", "in", "in"]
    (held,), (walks,) = await enrollments(ledger, paused), await enrollments(ledger, live)
    assert (held["pauses_seen"], walks["pauses_seen"]) == (2, 3)  # the pause that goes on holds who enters in it


async def test_while_a_version_drains_nobody_enters_and_then_the_next_one(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("drained"))
    ann, bob = await add_contact(ledger, "ann"), await add_contact(ledger, "bob")
    (first,) = await _enter(app, ledger, _through(journey, ann))
    assert isinstance(first, Entered)
    second = await add_version(ledger, document("drained", on_new_version="drain"), number=2)
    await ledger.execute("UPDATE journeys SET entering = 2 WHERE id = %s", (journey,))
    assert _reasons(await _enter(app, ledger, _through(journey, ann), _through(journey, bob))) == [
        "already_in",
        "draining",
    ]
    await end(ledger, first.enrollment)
    (after,) = await _enter(app, ledger, _through(journey, bob))
    assert isinstance(after, Entered) and after.version == second


async def test_of_many_who_let_the_same_person_in_at_once_one_does(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("raced", reentry="after_exit"))
    people = [await add_contact(ledger, f"p{n}") for n in range(5)]
    found = await asyncio.gather(*(_enter(app, ledger, *(_through(journey, one) for one in people)) for _ in range(4)))
    assert sorted(reason for answers in found for reason in _reasons(answers)) == ["already_in"] * 15 + ["in"] * 5
    assert len(await enrollments(ledger, journey)) == 5


async def test_nobody_enters_another_tenants_journey(app: Database, ledger: Ledger) -> None:
    journey = await add_journey(ledger, document("ours"))
    ann = await add_contact(ledger, "ann")
    stranger, _ = await ledger.add_tenant(ledger.account)
    async with app.transaction(stranger) as connection:
        answers = await enter(connection, tenant=stranger, entrances=[_through(journey, ann)])
    assert _reasons(answers) == ["not_active"]
