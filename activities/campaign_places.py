"""Where the open rows of a shard begin: a hint, so that a page does not pass again over all that was sent.

The index of a run's open rows keeps the entries of closed ones until vacuum may remove them, and while any transaction
is open anywhere in the database it may not. A look from the start then reads the row behind each of them, at a million
recipients for seconds. Rows are put back with a due time that is not past, so behind the hint there should be nothing;
what is there all the same is found by a look from the start, which is made whenever nothing lies before, and every now
and then.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from waypost.store.campaign_open import patiently
from waypost.store.campaign_pages import LoadedRun, Place, Recipient, due_recipients
from waypost.store.database import Connection

KEPT_S = 60.0
"""So long a hint is followed before a look from the start is made again."""
_OF_THE_TIME = 50
"""A look from the start may take a fiftieth of the time: after a slow one hints are kept for longer."""
_MOST = 10_000

Key = tuple[UUID, int, int]
"""(run, shard, the last cohort that is let go)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look found. `after` None: it was made from the start."""

    recipients: Sequence[Recipient]
    after: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hint:
    place: Place
    until: float


class Places:
    """The hints of one process, for any number of runs; losing them costs a look from the start each."""

    def __init__(self) -> None:
        self._hints: OrderedDict[Key, _Hint] = OrderedDict()

    async def look(
        self, connection: Connection, *, run: LoadedRun, shard: int, after: Place | None, limit: int
    ) -> Look:
        """The shard's next due recipients behind `after`, or a page's first ones."""
        if after is not None:
            return await _look(connection, run, shard, after, limit)
        key = (run.id, shard, run.open_cohort)
        hint = self._hints.get(key)
        if hint is not None and time.monotonic() < hint.until:
            found = await _look(connection, run, shard, hint.place, limit)
            until = hint.until
        else:
            began = time.monotonic()
            await patiently(connection)
            found = await _look(connection, run, shard, None, limit)
            now = time.monotonic()
            until = now + max(KEPT_S, _OF_THE_TIME * (now - began))
        if found.recipients:
            self._keep(key, _Hint(place=_before(found.recipients[0]), until=until))
        return found

    def passed(self, *, run: LoadedRun, shard: int, place: Place) -> None:
        """Everything up to `place` was handed over or settled."""
        key = (run.id, shard, run.open_cohort)
        hint = self._hints.get(key)
        if hint is not None:
            self._keep(key, _Hint(place=place, until=hint.until))

    def forget(self, *, run: LoadedRun, shard: int) -> None:
        """Look from the start next time."""
        self._hints.pop((run.id, shard, run.open_cohort), None)

    def _keep(self, key: Key, hint: _Hint) -> None:
        self._hints[key] = hint
        self._hints.move_to_end(key)
        while len(self._hints) > _MOST:
            self._hints.popitem(last=False)


async def _look(connection: Connection, run: LoadedRun, shard: int, after: Place | None, limit: int) -> Look:
    return Look(
        recipients=await due_recipients(connection, run=run, shard=shard, after=after, limit=limit), after=after
    )


def _before(recipient: Recipient) -> Place:
    """The last place before a recipient's, which may not have been sent to when the page ends."""
    return recipient.due_at, UUID(int=max(0, recipient.id.int - 1))
