"""Recurring campaigns: at its time each gets one more run. What was missed is left out, and never made up for."""

import logging

from waypost.campaigns.frozen import FrozenRun
from waypost.campaigns.recurrence import is_missed, next_slot
from waypost.messaging import ids
from waypost.store.campaign_recurrences import (
    Recurring,
    current_versions,
    due_recurrences,
    insert_recurrence,
    set_next,
)
from waypost.store.database import Connection

logger = logging.getLogger(__name__)

_HELD = frozenset({"paused", "halted"})
"""A person has stopped it: nothing begins by itself before a person lets it go on."""


async def recur(connection: Connection, *, limit: int) -> int:
    """One batch; how many times had come, whether or not a run was made of them."""
    found = await due_recurrences(connection, limit=limit)
    for campaign in found:
        await _recur(connection, campaign)
    return len(found)


async def _recur(connection: Connection, found: Recurring) -> None:
    frozen = FrozenRun.model_validate(found.frozen)
    schedule = frozen.definition.schedule
    assert schedule.every is not None and schedule.at is not None  # or it would have no next time
    if found.state in _HELD or is_missed(found.next_at, every=schedule.every, now=found.now):
        logger.warning("recurrence left out", extra={"campaign_id": str(found.campaign_id), "state": found.state})
    else:
        run = ids.run_id(campaign=found.campaign_id, number=found.last_run + 1)
        again = await _as_of_today(connection, found, frozen)
        await insert_recurrence(connection, found, run=run, frozen=again.model_dump(mode="json"))
    await set_next(connection, found, next_slot(first=schedule.at, every=schedule.every, after=found.now))


async def _as_of_today(connection: Connection, found: Recurring, frozen: FrozenRun) -> FrozenRun:
    """The same with what its templates say by now."""
    templates = [content.template_id for content in frozen.contents]
    versions = await current_versions(connection, tenant=found.tenant_id, templates=templates)
    contents = tuple(
        content.model_copy(update={"template_version": versions.get(content.template_id, content.template_version)})
        for content in frozen.contents
    )
    return frozen.model_copy(update={"contents": contents})
