"""The loops that bring people into journeys by what they have become, by their dates, and by schedules (bulk lane).

Any number of processes may run them: one at a time works for a tenant (`lock_entries`), in bounded batches.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from waypost.journeys.entries import DateEntry, ScheduleEntry, SegmentEntry
from waypost.journeys.schedule_times import next_time, on_each_clock, zones_due
from waypost.messaging.zones import zone_names
from waypost.relay.entry_dates import changed_times, come_and_following
from waypost.relay.loops import Loop
from waypost.relay.reconcile import Sweeper
from waypost.store.audiences import AudienceError
from waypost.store.contact_changes import Changed, have_looked, lock_entries, take_changes, tenants_with_changes
from waypost.store.database import Connection, Database
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.entry_times import (
    Place,
    forget,
    forget_some,
    journeys_to_look_at,
    journeys_with_somebody,
    note_inside,
    open_drained,
    read_dated,
    set_next_look,
    set_times,
    whose_time_came,
    whose_time_is_unknown,
)
from waypost.store.entry_watch import (
    Watching,
    come_inside,
    patiently,
    watch_scheduled,
    watch_segment,
    watching,
    watching_for,
)
from waypost.store.notifications import JOURNEYS_CHANNEL, OUTBOX_CHANNEL, notify

logger = logging.getLogger(__name__)

BATCH = 500
JOURNEYS_AT_ONCE = 50
LOOK_AGAIN = timedelta(minutes=15)
"""So often a segment is looked at as a whole: time alone brings people in and out, as a change of its rule does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What came of a batch."""

    entered: int = 0
    woken: int = 0
    more: bool = False


_Step = Callable[[Connection], Awaitable[_Done]]


class Entries:
    """The loops' work (role waypost_relay)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(self) -> bool:
        """Look at contacts that changed, a batch of each tenant; whether more wait."""
        async with self._database.transaction() as connection:
            tenants = await tenants_with_changes(connection)
        return any([await self._alone(tenant, partial(_changed, tenant=tenant)) for tenant in tenants])

    async def times(self) -> bool:
        """Let in whose time has come, a batch of each journey; whether more wait."""
        async with self._database.transaction() as connection:
            places = await journeys_with_somebody(connection, limit=JOURNEYS_AT_ONCE)
        return any([await self._alone(place[0], partial(_come, place=place)) for place in places])

    async def looks(self) -> bool:
        """Look at segments and schedules as a whole, where that is due; whether more are."""
        async with self._database.transaction() as connection:
            places = await journeys_to_look_at(connection, limit=JOURNEYS_AT_ONCE)
        return any([await self._alone(place[0], partial(_look, place=place)) for place in places])

    async def _alone(self, tenant: UUID, step: _Step) -> bool:
        """One step of one tenant, whose trouble is nobody else's; whether more waits."""
        try:
            async with self._database.transaction() as connection:
                if not await lock_entries(connection, tenant=tenant):
                    return False
                done = await step(connection)
        except Exception as error:  # whatever it was: what waits is looked at again
            logger.error("entries not looked at", extra={"tenant_id": str(tenant), "error": type(error).__name__})
            return False
        if done.entered:
            await notify(self._database, JOURNEYS_CHANNEL)
        if done.woken:
            await notify(self._database, OUTBOX_CHANNEL)
        return done.more


# Contacts that changed


async def _changed(connection: Connection, *, tenant: UUID) -> _Done:
    changes, more = await take_changes(connection, tenant=tenant, limit=BATCH)
    entered = 0
    for found in await watching(connection, tenant=tenant):
        match found.entry:
            case SegmentEntry():
                entered += await _segment_changed(connection, found, changes)
            case DateEntry():
                await _date_changed(connection, found, changes)
            case _:  # the latest version has another entry than the row says: who publishes is about to say so
                continue
    woken = await have_looked(connection, tenant=tenant, contacts=[change.contact for change in changes])
    return _Done(entered=entered, woken=woken, more=more)


async def _segment_changed(connection: Connection, found: Watching, changes: Sequence[Changed]) -> int:
    try:
        come = await come_inside(connection, found, contacts=[change.contact for change in changes])
    except AudienceError as error:
        logger.warning("segment not looked at", extra={"journey_id": str(found.journey), "code": error.code})
        return 0
    return await _enter(connection, found, come)


async def _date_changed(connection: Connection, found: Watching, changes: Sequence[Changed]) -> None:
    place = (found.tenant, found.journey)
    people = await read_dated(connection, place, contacts=[change.contact for change in changes])
    times = changed_times(found, people, {change.contact: change.at for change in changes})
    await set_times(connection, place, times)


# Whose time has come


async def _come(connection: Connection, *, place: Place) -> _Done:
    found = await watching_for(connection, tenant=place[0], journey=place[1])
    if found is None or not found.is_open:
        await forget_some(connection, place, limit=10 * BATCH)
        return _Done(more=True)
    due = await whose_time_came(connection, place, limit=BATCH)
    contacts = sorted(due)
    match found.entry:
        case SegmentEntry():
            await note_inside(connection, place, contacts=contacts)
        case ScheduleEntry():
            await forget(connection, place, contacts=contacts)
        case DateEntry():
            people = await read_dated(connection, place, contacts=contacts)
            contacts, times = come_and_following(found, people, due)
            await set_times(connection, place, times)
            await _find_out(connection, found)
        case _:
            await forget(connection, place, contacts=contacts)
            return _Done(more=True)
    return _Done(entered=await _enter(connection, found, contacts), more=True)


async def _find_out(connection: Connection, found: Watching) -> None:
    """Of contacts that were there when the journey was published: when do they enter?"""
    place = (found.tenant, found.journey)
    unknown = await whose_time_is_unknown(connection, place, limit=BATCH)
    if unknown:
        people = await read_dated(connection, place, contacts=unknown)
        since = dict.fromkeys(unknown, found.opened_at)
        await set_times(connection, place, dict.fromkeys(unknown) | changed_times(found, people, since))


async def _enter(connection: Connection, found: Watching, contacts: Sequence[UUID]) -> int:
    entrances = [
        Entrance(journey=found.journey, contact=contact, source=found.entry.kind) for contact in sorted(contacts)
    ]
    answers = await enter(connection, tenant=found.tenant, entrances=entrances)
    return sum(isinstance(answer, Entered) for answer in answers)


# As a whole


async def _look(connection: Connection, *, place: Place) -> _Done:
    found = await watching_for(connection, tenant=place[0], journey=place[1])
    if found is None or found.next_entry_at is None or found.next_entry_at > found.now:
        return _Done()  # another process was first
    await patiently(connection)
    try:
        following = await _look_at(connection, found)
    except AudienceError as error:
        logger.warning("audience not looked at", extra={"journey_id": str(found.journey), "code": error.code})
        following = found.now + LOOK_AGAIN
    await set_next_look(
        connection, tenant=found.tenant, journey=found.journey, before=found.next_entry_at, following=following
    )
    return _Done()


async def _look_at(connection: Connection, found: Watching) -> datetime | None:
    match entry := found.entry:
        case SegmentEntry():
            await watch_segment(connection, found, enters=True)
            return found.now + LOOK_AGAIN
        case ScheduleEntry() if on_each_clock(entry):
            return await _look_at_clocks(connection, found, entry)
        case ScheduleEntry():
            return await _look_at_time(connection, found, entry)
        case _:
            return None


async def _look_at_clocks(connection: Connection, found: Watching, entry: ScheduleEntry) -> datetime | None:
    assert found.next_entry_at is not None
    zones, following = zones_due(entry, zone_names(), since=found.next_entry_at, now=found.now)
    if zones:
        await watch_scheduled(connection, found, zones=zones)
    return following


async def _look_at_time(connection: Connection, found: Watching, entry: ScheduleEntry) -> datetime | None:
    assert found.next_entry_at is not None
    at = next_time(entry, found.zone, since=found.next_entry_at)
    if at is not None and at <= found.now:
        await watch_scheduled(connection, found, zones=None)
        return next_time(entry, found.zone, since=found.now + timedelta(microseconds=1))
    return at


def entry_loops(database: Database) -> list[Loop]:
    """The loops of one process of the bulk lane (role waypost_relay)."""
    entries, sweep = Entries(database), Sweeper(database)
    return [
        Loop(name="contact-changes", interval_s=1, work=entries.changes),
        Loop(name="entry-times", interval_s=1, work=entries.times),
        Loop(name="entry-looks", interval_s=1, work=entries.looks),
        Loop(name="drained-versions", interval_s=2, work=sweep.once("version_opened", open_drained)),
    ]
