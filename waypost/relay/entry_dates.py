"""When contacts enter a journey by a date of theirs: what is written down is held against what they say today."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from waypost.journeys.entries import DateEntry
from waypost.journeys.timing import next_date
from waypost.messaging.zones import known_zone
from waypost.segments.comparing import value_at
from waypost.store.entry_times import Dated
from waypost.store.entry_watch import Watching

_JUST_BEFORE = timedelta(microseconds=1)


def changed_times(
    watching: Watching, people: Iterable[Dated], since: Mapping[UUID, datetime]
) -> dict[UUID, datetime | None]:
    """When contacts enter that have changed since; a time that has come already stands, and is not in the answer."""
    times: dict[UUID, datetime | None] = {}
    for person in people:
        if person.next_at is not None and person.next_at <= watching.now:
            continue
        # Not again for a date that brought it in, however early the change.
        after = since[person.contact] if person.last is None else max(since[person.contact], person.last)
        times[person.contact] = _next(watching, person, after=after)
    return times


def come_and_following(
    watching: Watching, people: Iterable[Dated], due: Mapping[UUID, datetime]
) -> tuple[list[UUID], dict[UUID, datetime | None]]:
    """Whose time has come as it was written down, and when each comes next: one that was moved, to when it was."""
    come: list[UUID] = []
    times: dict[UUID, datetime | None] = dict.fromkeys(due)
    for person in people:
        written = due[person.contact]
        at = _next(watching, person, after=written - _JUST_BEFORE)
        if at == written:
            come.append(person.contact)
            at = _next(watching, person, after=max(written, watching.now))
        times[person.contact] = at
    return come, times


def _next(watching: Watching, person: Dated, *, after: datetime) -> datetime | None:
    entry = watching.entry
    assert isinstance(entry, DateEntry)
    value: Any = value_at(person.attributes, entry.attribute)
    return next_date(entry, value, known_zone(person.zone, watching.zone), after=after)
