"""What a decision about an enrollment changes, until it is written."""

from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from typing import Any

from waypost.journeys.document import Journey
from waypost.journeys.steps import Step, UpdateContact, WaitFor
from waypost.journeys.taking import filled
from waypost.journeys.trace import How
from waypost.journeys.watching import moves_with_contact, rules_everywhere
from waypost.store.journey_walks import LoadedEnrollment, Standing, VisitDraft


class Moment(IntEnum):
    """What can come next; of one moment the lower one comes first."""

    TOLD = 0
    PAUSED = 1
    RESUMED = 2
    WAKE = 3


class State:
    """The enrollment as it will be. Times of `place` are ISO 8601."""

    def __init__(self, loaded: LoadedEnrollment) -> None:
        place = loaded.place
        self.data = loaded.data
        self.attributes = loaded.attributes or {}
        self.step = loaded.step
        self.visits = loaded.visits
        self.resting_since = loaded.resting_since
        self.paused_at = loaded.paused_at
        self.pauses_seen = loaded.pauses_seen
        self.how: str | None = None
        self.reason: str | None = None
        self.look_again_at: datetime | None = None
        self.late_policy: str | None = place.get("late_policy")
        self.answer: str | None = place.get("answer")
        self.tries: int | None = place.get("tries")
        self.try_at: datetime | None = _read(place.get("try_at"))
        self.meant_for: datetime | None = _read(place.get("meant_for"))
        self._woke: dict[str, str] = dict(place.get("woke", {}))
        self._drafts: dict[int, VisitDraft] = {}
        self.done: list[int] = []
        self.held: list[int] = []
        self.taken: list[tuple[str, str]] = []

    @property
    def drafts(self) -> Iterable[VisitDraft]:
        """Visits that are to be written."""
        return self._drafts.values()

    def enter(self, step: str, kind: str, now: datetime) -> None:
        """A step is taken."""
        self.visits += 1
        self.step, self.resting_since = step, None
        self.answer, self.tries, self.try_at = None, None, None
        self._drafts[self.visits] = VisitDraft(number=self.visits, step=step, kind=kind, entered_at=now)

    def leave(self, now: datetime, edge: str | None, why: dict[str, Any]) -> None:
        """The step is left, by an edge or without one."""
        assert self.step is not None
        draft = self._draft(now)
        draft.left_at, draft.edge = now, edge
        draft.why |= why
        self.resting_since = None
        self.taken.append((self.step, edge or ""))

    def say(self, **why: Any) -> None:
        """Why the present step does what it does."""
        self._drafts[self.visits].why |= why

    def did(self, step: Step) -> None:
        """What a step changed of the contact is known to the steps after it."""
        if isinstance(step, UpdateContact):
            changes = {**filled(step.set, self.data), **dict.fromkeys(step.remove)}
            merged = {**self.attributes, **changes}
            self.attributes = {name: value for name, value in merged.items() if value is not None}

    def rest(self, now: datetime) -> None:
        """The present step rests: what was due or late before it is over."""
        self.resting_since, self.late_policy, self.meant_for = now, None, None

    def wait_until(self, moment: datetime | None) -> None:
        """For when it was to wake, by what is known now."""
        self._drafts[self.visits].waited_until = moment

    def hold(self, told: int) -> None:
        """It is left for the resume."""
        self.done.remove(told)
        self.held.append(told)

    def woke(self, step: str) -> datetime | None:
        """When a wait ended last."""
        return _read(self._woke.get(step))

    def note_wake(self, now: datetime) -> None:
        """The wait at the present step ends."""
        if self.step is not None:
            self._woke[self.step] = now.isoformat()

    def end(self, how: str, reason: str) -> None:
        """It is over. Of a contact that is gone nothing is kept that it brought."""
        self.how, self.reason, self.resting_since = str(how), reason, None
        if how == How.CONTACT_DELETED:
            self.data = {}

    def standing(self, journey: Journey, wakes_at: datetime | None) -> Standing:
        """As it is written."""
        over = self.how is not None
        everywhere = rules_everywhere(journey)
        step = journey.steps.get(self.step or "") if self.resting_since is not None and self.paused_at is None else None
        awaited = [*(watch.event for watch in everywhere), step.watch.event if isinstance(step, WaitFor) else None]
        anything = any(watch.condition is not None for watch in everywhere) or (
            step is not None and moves_with_contact(step)
        )
        return Standing(
            data=self.data,
            step=self.step,
            visits=self.visits,
            resting_since=self.resting_since,
            wakes_at=None if over else wakes_at,
            awaits=[] if over else sorted({name for name in awaited if name is not None}),
            awaits_any=anything and not over,
            place={} if over else self._place(),
            pauses_seen=self.pauses_seen,
            paused_at=self.paused_at,
            how=self.how,
            reason=self.reason,
        )

    def _place(self) -> dict[str, Any]:
        place = {
            "late_policy": self.late_policy,
            "answer": self.answer,
            "tries": self.tries,
            "try_at": self.try_at.isoformat() if self.try_at else None,
            "meant_for": self.meant_for.isoformat() if self.meant_for else None,
            "woke": self._woke or None,
        }
        return {name: value for name, value in place.items() if value is not None}

    def _draft(self, now: datetime) -> VisitDraft:
        assert self.step is not None
        if self.visits not in self._drafts:  # of an earlier decision: only how it is left is written
            self._drafts[self.visits] = VisitDraft(number=self.visits, step=self.step, kind="", entered_at=now)
        return self._drafts[self.visits]


def _read(moment: str | None) -> datetime | None:
    return None if moment is None else datetime.fromisoformat(moment)
