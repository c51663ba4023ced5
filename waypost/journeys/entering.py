"""Who comes in: whether an event is an entry, of which key, and whether somebody may come again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from waypost.journeys.entries import CoolDown, EventEntry, Reentry
from waypost.segments.comparing import holds, value_at
from waypost.segments.people import Deed
from waypost.segments.rules import PropertyFilter

MAX_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PastEntry:
    """An enrollment of the contact in the journey, in whatever version. `key` is empty where there is none."""

    entered_at: datetime
    open: bool
    key: str = ""


def event_matches(deed: Deed, name: str, where: Iterable[PropertyFilter], *, now: datetime) -> bool:
    """Whether an event is of this name and all filters hold of its properties."""
    return deed.name == name and filters_hold(where, deed.properties, now=now)


def filters_hold(where: Iterable[PropertyFilter], properties: Any, *, now: datetime) -> bool:
    """Whether all filters hold."""
    return all(holds(value_at(properties, one.property), one.is_, now=now) for one in where)


def enters(entry: EventEntry, deed: Deed, *, now: datetime) -> bool:
    """Whether an event is an entry: one without its key is none."""
    return event_matches(deed, entry.event, entry.where, now=now) and entry_key(entry, deed) is not None


def entry_key(entry: EventEntry, deed: Deed) -> str | None:
    """The key of an event, empty where the entry has none; None where it is missing, or is no text or whole number."""
    if entry.key is None:
        return ""
    value = value_at(deed.properties, entry.key)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value):
        return None
    return str(value) if len(str(value)) <= MAX_KEY else None


def may_enter(reentry: Reentry, past: Iterable[PastEntry], *, key: str, now: datetime) -> str | None:
    """Why the contact may not enter now; None: it may. An open enrollment of the same key always stands in the way."""
    mine = [one for one in past if one.key == key]
    if any(one.open for one in mine):
        return "already_in"
    if reentry == "once" and mine:
        return "only_once"
    if isinstance(reentry, CoolDown) and any(now < one.entered_at + reentry.after for one in mine):
        return "cooling_down"
    return None
