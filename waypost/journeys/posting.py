"""The messages of one enrollment: what was sent, what the gate refused, which fallbacks are still to come."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from waypost.journeys.contact_changes import written_to
from waypost.journeys.document import Journey
from waypost.journeys.happenings import Around
from waypost.journeys.sending import Asked, judge, primary_facts
from waypost.journeys.steps import Send
from waypost.journeys.trace import Sent, Visit
from waypost.messaging.gate import Defer, Refuse
from waypost.messaging.gate import Send as GoAhead
from waypost.messaging.values import Channel, Outcome, Part
from waypost.segments.people import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A fallback to come. `meant_for` is when it was due first; `due` is where the gate put it."""

    due: datetime
    meant_for: datetime
    step: Send
    visit: Visit
    expires_at: datetime
    outcome: Outcome


@dataclass(slots=True, kw_only=True)
class Posting:
    """What was posted so far."""

    journey: Journey
    around: Around
    sends: list[Sent] = field(default_factory=list)
    pending: list[_Pending] = field(default_factory=list)
    _marketing: list[tuple[datetime, Channel]] = field(default_factory=list)
    _places: dict[int, int] = field(default_factory=dict)

    def next_due(self) -> datetime | None:
        """When the next fallback is due; None: there is none."""
        return min((one.due for one in self.pending), default=None)

    def sent_in(self, visit: int) -> int | None:
        """Where the primary of a visit is among the contact's messages."""
        return self._places.get(visit)

    def take_back(self) -> None:
        """What was not sent yet never will be."""
        self.pending.clear()

    def shift(self, held: timedelta) -> None:
        """Fallbacks come so much later."""
        self.pending = [replace(one, due=one.due + held, meant_for=one.meant_for + held) for one in self.pending]

    def receive(self, visit: int, *, delivered: bool, now: datetime) -> None:
        """A delivery makes the fallback needless, anything else makes it due at once."""
        mine = [one for one in self.pending if one.visit.number == visit]
        self.pending = [one for one in self.pending if one.visit.number != visit]
        if not delivered:
            self.pending += [replace(one, due=min(one.due, now), meant_for=min(one.meant_for, now)) for one in mine]

    def send(
        self,
        step: Send,
        visit: Visit,
        person: Person,
        *,
        now: datetime,
        meant_for: datetime,
        expires_at: datetime,
        late_policy: str,
    ) -> tuple[Person, datetime | None]:
        """Send a step's message or record why not; the contact after it, and until when the gate has it wait."""
        asked = Asked(
            now=now,
            step=step,
            channel=step.channel,
            meant_for=meant_for,
            expires_at=expires_at,
            late_policy=late_policy,
        )
        answer = judge(self.journey, self.around, person, asked, self._marketing)
        if isinstance(answer, Defer):
            return person, answer.until
        outcome, reason = (answer.outcome, answer.reason) if isinstance(answer, Refuse) else (Outcome.SENT, None)
        person = self._record(asked, visit, Part.PRIMARY, outcome, reason, person)
        if step.fallback is not None:
            due = now + step.fallback.after if outcome is Outcome.SENT else now
            waiting = _Pending(due=due, meant_for=due, step=step, visit=visit, expires_at=expires_at, outcome=outcome)
            self.pending.append(waiting)
        return person, None

    def send_fallback(self, now: datetime, person: Person, late_policy: str) -> Person:
        """Send the fallback that is due next, of the lowest visit where two are; or put it off."""
        one = min(self.pending, key=lambda each: (each.due, each.visit.number))
        self.pending.remove(one)
        fallback = one.step.fallback
        assert fallback is not None
        asked = Asked(
            now=now,
            step=one.step,
            channel=fallback.channel,
            meant_for=one.meant_for,
            expires_at=one.expires_at,
            late_policy=late_policy,
            primary=primary_facts(one.outcome, delivered=False, bounced=False),
        )
        match answer := judge(self.journey, self.around, person, asked, self._marketing):
            case Defer():
                self.pending.append(replace(one, due=answer.until))
                return person
            case Refuse():
                return self._record(asked, one.visit, Part.FALLBACK, answer.outcome, answer.reason, person)
            case GoAhead():
                return self._record(asked, one.visit, Part.FALLBACK, Outcome.SENT, None, person)
            case _:
                assert_never(answer)

    def _record(
        self, asked: Asked, visit: Visit, part: Part, outcome: Outcome, reason: str | None, person: Person
    ) -> Person:
        step = asked.step
        template = step.template if part is Part.PRIMARY or step.fallback is None else step.fallback.template
        self.sends.append(
            Sent(
                at=asked.now,
                step=visit.step,
                visit=visit.number,
                part=part,
                channel=asked.channel,
                template=template,
                outcome=outcome,
                reason=reason,
            )
        )
        if outcome is not Outcome.SENT:
            return person
        if step.message_class == "marketing":
            self._marketing.append((asked.now, asked.channel))
        if part is Part.PRIMARY:
            self._places[visit.number] = len(person.messages)
        return written_to(person, template=template, at=asked.now)
