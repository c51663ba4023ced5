"""People come into journeys by segment, date and schedule: each once, whoever looks, and nobody by mistake."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from tests.relay.ledger import Ledger
from tests.store.journey_rows import add_contact, add_journey, add_version, document, end, enrollments
from waypost.messaging import ids
from waypost.relay.entries import Entries, entry_loops
from waypost.store.database import Database
from waypost.store.entry_watch import baseline

PRO = {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "pro"}}
BY_SEGMENT = {"kind": "segment", "segment": "pro"}
BY_DATE = {"kind": "contact_date", "attribute": "trial.ends", "at": "09:00"}


@pytest.fixture
def entries(store: Database) -> Entries:
    """The loops' work."""
    return Entries(store)


async def _add_segment(ledger: Ledger, key: str = "pro", rule: dict[str, Any] = PRO) -> None:
    await ledger.insert(
        "segments",
        tenant_id=ledger.tenant,
        id=ids.segment_id(tenant=ledger.tenant, key=key),
        key=key,
        name=key,
        rule=Jsonb(rule),
    )


async def _publish(ledger: Ledger, store: Database, said: dict[str, Any], **columns: Any) -> UUID:
    """As publishing does, with a first look that is due at once."""
    at = (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    journey = await add_journey(ledger, said, **({"next_entry_at": at} | columns))
    async with store.transaction() as connection:
        await baseline(connection, tenant=ledger.tenant, journey=journey)
    return journey


async def _set(ledger: Ledger, contact: UUID, **attributes: Any) -> None:
    await ledger.execute("UPDATE contacts SET attributes = %s WHERE id = %s", (Jsonb(attributes), contact))


async def _settle(entries: Entries) -> None:
    """Until nothing is left to do by now."""
    await entries.looks()
    for _ in range(20):
        if not (await entries.changes()) | (await entries.times()):
            return
    raise AssertionError("the loops find no end")


async def _who(ledger: Ledger, journey: UUID) -> list[UUID]:
    return sorted(row["contact_id"] for row in await enrollments(ledger, journey))


async def _next_at(ledger: Ledger, journey: UUID) -> dict[UUID, Any]:
    rows = await ledger.execute("SELECT contact_id, next_at FROM journey_watched WHERE journey_id = %s", (journey,))
    return {row["contact_id"]: row["next_at"] for row in rows}


def _in(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="microseconds")


# Segments


async def test_who_comes_to_be_in_the_segment_enters_and_who_was_there_before_does_not(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    await _add_segment(ledger)
    before = await add_contact(ledger, "before", attributes={"plan": "pro"})
    later = await add_contact(ledger, "later", attributes={"plan": "free"})
    journey = await _publish(ledger, store, document("upgraded", entry=BY_SEGMENT))
    await _settle(entries)
    assert await _who(ledger, journey) == []
    await _set(ledger, later, plan="pro")
    await _set(ledger, before, plan="pro", seats=2)
    new = await add_contact(ledger, "new", attributes={"plan": "pro"})
    await add_contact(ledger, "none", attributes={"plan": "free"})
    await _settle(entries)
    assert await _who(ledger, journey) == sorted([later, new])
    assert {row["source"] for row in await enrollments(ledger, journey)} == {"segment"}
    assert await ledger.execute("SELECT id FROM contact_changes WHERE tenant_id = %s", (ledger.tenant,)) == []


async def test_who_leaves_the_segment_may_come_again(ledger: Ledger, store: Database, entries: Entries) -> None:
    await _add_segment(ledger)
    ann = await add_contact(ledger, "ann")
    journey = await _publish(ledger, store, document("again", entry=BY_SEGMENT, reentry="after_exit"))
    for _ in range(2):
        await _set(ledger, ann, plan="pro")
        await _settle(entries)
        await end(ledger, (await enrollments(ledger, journey))[-1]["id"])
        await _set(ledger, ann, plan="pro", more=True)  # still in it: no entry
        await _settle(entries)
        await _set(ledger, ann)
        await _settle(entries)
    assert await _who(ledger, journey) == [ann, ann]


async def test_time_alone_brings_people_in_when_the_segment_is_looked_at_as_a_whole(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    await _add_segment(ledger)
    journey = await _publish(ledger, store, document("whole", entry=BY_SEGMENT))
    await _settle(entries)
    people = [await add_contact(ledger, f"p{n}", attributes={"plan": "pro"}) for n in range(3)]
    await ledger.execute("DELETE FROM contact_changes")  # nobody has told of them
    await _settle(entries)
    assert await _who(ledger, journey) == []
    await ledger.execute("UPDATE journeys SET next_entry_at = waypost_now() WHERE id = %s", (journey,))
    await _settle(entries)
    assert await _who(ledger, journey) == sorted(people)
    row = (await ledger.execute("SELECT next_entry_at FROM journeys WHERE id = %s", (journey,)))[0]
    assert timedelta(minutes=14) < row["next_entry_at"] - datetime.now(UTC) < timedelta(minutes=16)
    assert set((await _next_at(ledger, journey)).values()) == {None}


async def test_of_many_who_look_at_once_one_lets_each_contact_in(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    await _add_segment(ledger)
    journey = await _publish(ledger, store, document("raced", entry=BY_SEGMENT, reentry="after_exit"))
    people = [await add_contact(ledger, f"p{n}", attributes={"plan": "pro"}) for n in range(20)]
    await ledger.execute("UPDATE journeys SET next_entry_at = waypost_now() WHERE id = %s", (journey,))
    await asyncio.gather(*(work() for work in (entries.changes, entries.times, entries.looks) * 3))
    await _settle(entries)
    assert await _who(ledger, journey) == sorted(people)


async def test_a_version_with_another_segment_begins_anew_and_one_with_the_same_does_not(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    await _add_segment(ledger)
    await _add_segment(ledger, "free", {"kind": "not", "rule": PRO})
    ann = await add_contact(ledger, "ann", attributes={"plan": "pro"})
    bob = await add_contact(ledger, "bob")
    journey = await _publish(ledger, store, document("other", entry=BY_SEGMENT))
    watched = [set(await _next_at(ledger, journey))]
    for number, segment in ((2, "pro"), (3, "free")):
        await add_version(ledger, document("other", entry=BY_SEGMENT | {"segment": segment}), number=number)
        await ledger.execute(
            "UPDATE journeys SET version = %(n)s, entering = %(n)s WHERE id = %(id)s", {"n": number, "id": journey}
        )
        async with store.transaction() as connection:
            await baseline(connection, tenant=ledger.tenant, journey=journey)
        watched.append(set(await _next_at(ledger, journey)))
    assert watched == [{ann}, {ann}, {bob}]


async def test_one_tenants_trouble_is_not_anothers(ledger: Ledger, store: Database, entries: Entries) -> None:
    await add_journey(ledger, document("lost", entry=BY_SEGMENT))  # of a segment that is not there
    await add_contact(ledger, "ann", attributes={"plan": "pro"})
    ledger.tenant, _ = await ledger.add_tenant(ledger.account)
    await _add_segment(ledger)
    journey = await _publish(ledger, store, document("found", entry=BY_SEGMENT))
    bob = await add_contact(ledger, "bob", attributes={"plan": "pro"})
    await _settle(entries)
    assert await _who(ledger, journey) == [bob]


# Dates


async def test_contacts_enter_when_their_date_comes_and_once_for_it(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    entry = {"kind": "contact_date", "attribute": "trial.ends"}
    soon = await add_contact(ledger, "soon", attributes={"trial": {"ends": _in(1)}})
    past = await add_contact(ledger, "past", attributes={"trial": {"ends": _in(-1)}})
    said = document("trial", entry=entry | {"at": "00:00"}, reentry="after_exit", time_zone="Europe/Vienna")
    journey = await _publish(ledger, store, said)
    none = await add_contact(ledger, "none", attributes={"trial": {"ends": "soon"}})
    await _settle(entries)
    known = await _next_at(ledger, journey)
    assert set(known) == {soon}
    assert past not in known and none not in known
    assert known[soon].astimezone(UTC).minute == 0
    assert await _who(ledger, journey) == []


async def test_a_date_that_came_brings_the_contact_in_and_a_change_just_before_does_not_do_so_again(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    journey = await _publish(ledger, store, document("came", entry=BY_DATE, reentry="after_exit"))
    ann = await add_contact(ledger, "ann")
    await _settle(entries)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    at = datetime.fromisoformat(f"{yesterday}T09:00:00+00:00")
    await _set(ledger, ann, trial={"ends": yesterday})
    await ledger.execute("DELETE FROM contact_changes")
    await ledger.insert("journey_watched", tenant_id=ledger.tenant, journey_id=journey, contact_id=ann, next_at=at)
    await ledger.insert("contact_changes", tenant_id=ledger.tenant, contact_id=ann, at=at - timedelta(seconds=1))
    await _settle(entries)
    (row,) = await enrollments(ledger, journey)
    assert (row["contact_id"], row["source"]) == (ann, "contact_date")
    assert await _next_at(ledger, journey) == {}
    await end(ledger, row["id"])
    await ledger.insert("contact_changes", tenant_id=ledger.tenant, contact_id=ann, at=at - timedelta(seconds=1))
    await _settle(entries)
    assert await _who(ledger, journey) == [ann]


async def test_a_change_that_is_looked_at_late_still_brings_in_whose_date_came_since(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    journey = await _publish(ledger, store, document("outage", entry=BY_DATE))
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    ann = await add_contact(ledger, "ann", attributes={"trial": {"ends": yesterday}})
    await ledger.execute("UPDATE contact_changes SET at = at - interval '3 days' WHERE contact_id = %s", (ann,))
    await _settle(entries)
    assert await _who(ledger, journey) == [ann]


async def test_a_date_that_was_moved_or_taken_away_is_not_the_one_that_counts(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    journey = await _publish(ledger, store, document("moved", entry=BY_DATE))
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    moved = await add_contact(ledger, "moved", attributes={"trial": {"ends": tomorrow}}, time_zone="Asia/Tokyo")
    gone = await add_contact(ledger, "gone", attributes={"trial": {}})
    await ledger.execute("DELETE FROM contact_changes")
    for contact in (moved, gone):
        at = datetime.now(UTC) - timedelta(seconds=5)
        await ledger.insert(
            "journey_watched", tenant_id=ledger.tenant, journey_id=journey, contact_id=contact, next_at=at
        )
    await _settle(entries)
    assert await _who(ledger, journey) == []
    assert await _next_at(ledger, journey) == {moved: datetime.fromisoformat(f"{tomorrow}T00:00:00+00:00")}


async def test_a_date_that_came_while_the_journey_was_archived_brings_nobody_in(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
    await add_contact(ledger, "ann", attributes={"trial": {"ends": yesterday}})
    journey = await _publish(ledger, store, document("reopened", entry=BY_DATE))
    await ledger.execute("UPDATE journey_versions SET published_at = published_at - interval '9 days'")
    await _settle(entries)
    assert (await _who(ledger, journey), await _next_at(ledger, journey)) == ([], {})


async def test_a_birthday_comes_again_next_year(ledger: Ledger, store: Database, entries: Entries) -> None:
    journey = await _publish(ledger, store, document("birthday", entry=BY_DATE | {"yearly": True}))
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    ann = await add_contact(ledger, "ann", attributes={"trial": {"ends": yesterday.replace(year=1996).isoformat()}})
    await ledger.execute("UPDATE contact_changes SET at = at - interval '3 days' WHERE contact_id = %s", (ann,))
    await _settle(entries)
    assert await _who(ledger, journey) == [ann]
    assert (await _next_at(ledger, journey))[ann].year == yesterday.year + 1


# Schedules


async def test_when_its_time_comes_everybody_in_the_audience_enters(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    await _add_segment(ledger)
    people = [await add_contact(ledger, f"p{n}", attributes={"plan": "pro"}) for n in range(3)]
    await add_contact(ledger, "free")
    entry = {"kind": "schedule", "first": _in(-10), "every": "P7D", "segment": "pro"}
    journey = await _publish(ledger, store, document("weekly", entry=entry, reentry="after_exit"))
    await _settle(entries)
    assert await _who(ledger, journey) == []  # not for a time before it was published
    at = (await ledger.execute("SELECT next_entry_at AS at FROM journeys WHERE id = %s", (journey,)))[0]["at"]
    assert timedelta(days=3.9) < at - datetime.now(UTC) < timedelta(days=4)
    await ledger.execute(
        "UPDATE journeys SET next_entry_at = next_entry_at - interval '7 days' WHERE id = %s", (journey,)
    )
    await _settle(entries)
    assert await _who(ledger, journey) == sorted(people)
    assert {row["source"] for row in await enrollments(ledger, journey)} == {"schedule"}
    assert await _next_at(ledger, journey) == {}
    assert (await ledger.execute("SELECT next_entry_at AS at FROM journeys WHERE id = %s", (journey,)))[0]["at"] == at


async def test_each_contacts_own_clock_comes_to_the_time(ledger: Ledger, store: Database, entries: Entries) -> None:
    key, here = "all", "Pacific/Kiritimati"  # fourteen hours ahead of UTC, as far as any clock
    await ledger.insert(
        "lists", tenant_id=ledger.tenant, id=ids.list_id(tenant=ledger.tenant, key=key), key=key, name=key
    )
    zones = {"ann": here, "bob": "Pacific/Pago_Pago", "eve": None, "joe": "Mars/Olympus"}
    people = {name: await add_contact(ledger, name, time_zone=zone) for name, zone in zones.items()}
    for contact in people.values():
        list_id = ids.list_id(tenant=ledger.tenant, key=key)
        await ledger.insert("list_members", tenant_id=ledger.tenant, list_id=list_id, contact_id=contact)
    first = (datetime.now(UTC) + timedelta(hours=14, seconds=-30)).replace(tzinfo=None).isoformat()
    entry = {"kind": "schedule", "first": first, "list": key}
    since = datetime.now(UTC) - timedelta(hours=1)
    journey = await _publish(ledger, store, document("clocks", entry=entry), next_entry_at=since)
    await _settle(entries)
    assert await _who(ledger, journey) == [people["ann"]]
    at = (await ledger.execute("SELECT next_entry_at AS at FROM journeys WHERE id = %s", (journey,)))[0]["at"]
    assert timedelta() < at - datetime.now(UTC) <= timedelta(hours=1)
    await ledger.execute("UPDATE tenants SET time_zone = %s WHERE id = %s", (here, ledger.tenant))
    await ledger.execute("UPDATE journeys SET next_entry_at = %s WHERE id = %s", (since, journey))
    await _settle(entries)
    assert await _who(ledger, journey) == sorted(people[name] for name in ("ann", "eve", "joe"))


# Who is not let in, and who is told


async def test_nobody_enters_a_journey_that_is_archived_or_of_a_tenant_that_is_not_active(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    await _add_segment(ledger)
    archived = await _publish(ledger, store, document("archived", entry=BY_SEGMENT))
    ann = await add_contact(ledger, "ann", attributes={"plan": "pro"})
    at = datetime.now(UTC) - timedelta(seconds=1)
    await ledger.insert("journey_watched", tenant_id=ledger.tenant, journey_id=archived, contact_id=ann, next_at=at)
    await ledger.execute("UPDATE journeys SET state = 'archived' WHERE id = %s", (archived,))
    held = await _publish(ledger, store, document("held", entry=BY_SEGMENT))
    bob = await add_contact(ledger, "bob", attributes={"plan": "pro"})
    await ledger.execute("UPDATE tenants SET state = 'suspended' WHERE id = %s", (ledger.tenant,))
    await _settle(entries)
    assert await _who(ledger, archived) + await _who(ledger, held) == []
    await ledger.execute("UPDATE tenants SET state = 'active' WHERE id = %s", (ledger.tenant,))
    await _settle(entries)
    assert (await _who(ledger, archived), await _who(ledger, held)) == ([], [bob])
    assert await _next_at(ledger, archived) == {}


async def test_a_change_wakes_those_whom_any_change_may_move_and_nobody_else(
    ledger: Ledger, store: Database, entries: Entries
) -> None:
    waits = {"kind": "wait_for", "for": {"condition": PRO}, "timeout": "P1D", "next": "end", "on_timeout": "end"}
    journey = await _publish(ledger, store, document("conditions", start="waits", steps={"waits": waits}))
    people = [await add_contact(ledger, name) for name in ("ann", "bob", "eve")]
    await ledger.execute("DELETE FROM contact_changes")
    enrolled = []
    for contact in people:
        identity = ids.enrollment_id(journey=journey, contact=contact, key="", number=1)
        await ledger.insert(
            "enrollments",
            tenant_id=ledger.tenant,
            id=identity,
            journey_id=journey,
            version_id=ids.journey_version_id(journey=journey, number=1),
            contact_id=contact,
            number=1,
            mode="test",
            source="api",
            awaits_any=contact != people[1],
        )
        enrolled.append(identity)
    await _set(ledger, people[0], plan="pro")
    await _set(ledger, people[1], plan="pro")
    await _settle(entries)
    told = await ledger.execute(
        "SELECT enrollment_id, kind FROM enrollment_inbox WHERE tenant_id = %s", (ledger.tenant,)
    )
    assert [(row["enrollment_id"], row["kind"]) for row in told] == [(enrolled[0], "look")]
    names = [f"journey/{identity}" for identity in enrolled]
    hints = await ledger.execute("SELECT workflow_id FROM outbox WHERE workflow_id = ANY(%s)", (names,))
    assert [row["workflow_id"] for row in hints] == names[:1]


async def test_a_version_that_drained_makes_way_for_the_next(ledger: Ledger, store: Database) -> None:
    journey = await add_journey(ledger, document("drained"))
    await add_version(ledger, document("drained", on_new_version="drain"), number=2)
    ann = await add_contact(ledger, "ann")
    identity = ids.enrollment_id(journey=journey, contact=ann, key="", number=1)
    await ledger.insert(
        "enrollments",
        tenant_id=ledger.tenant,
        id=identity,
        journey_id=journey,
        version_id=ids.journey_version_id(journey=journey, number=1),
        contact_id=ann,
        number=1,
        mode="test",
        source="api",
    )
    await ledger.execute("UPDATE journeys SET entering = 2 WHERE id = %s", (journey,))
    (drained,) = [loop for loop in entry_loops(store) if loop.name == "drained-versions"]
    versions = []
    for _ in range(2):
        await drained.work()
        versions += await ledger.execute("SELECT version FROM journeys WHERE id = %s", (journey,))
        await end(ledger, identity)
    assert [row["version"] for row in versions] == [1, 2]
