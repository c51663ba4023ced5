"""A journey with every kind of step, what happens to each contact who walks it, and what must come of it.

What happens comes at steps, not at times, so that kills delay it and change nothing. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, assert_never
from uuid import UUID

from waypost.journeys.document import Journey, read_journey
from waypost.journeys.happenings import (
    Answered,
    Around,
    Happened,
    Happening,
    Moved,
    Receipt,
    ReceiptKind,
    Removed,
    WaitSkipped,
)
from waypost.journeys.interpreter import interpret
from waypost.journeys.trace import Trace
from waypost.segments.people import Deed, Person

JOURNEY, AFTERWARDS = "walk", "afterwards"
ENTERED, QUIZZED, FINISHED, SUBSCRIBED, CANCELLED = "signed_up", "quizzed", "finished", "subscribed", "cancelled"
EMITTED = "walked"
LIST = "walkers"
REFUSED = "refused"
"""The webhook step whose posts are refused for good."""

LETTERS = ("hello", "yes", "no", "bye", "thanks")
TEXTS = ("bye-sms",)

_LONG = "PT2H"
_SHORT = "PT2S"
_START = datetime(2026, 1, 1, tzinfo=UTC)


def _send(template: str, onward: str, **more: Any) -> dict[str, Any]:
    return {"kind": "send", "channel": "email", "template": template, "next": onward, **more}


def _ask(event: str, onward: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "wait_for",
        "for": {"event": event},
        "timeout": _LONG,
        "next": onward,
        "on_timeout": "wrong",
        **more,
    }


def _approval(onward: str, *, rejected: str, timeout: str, late: str) -> dict[str, Any]:
    ways = {"next": onward, "on_reject": rejected, "on_timeout": late}
    return {"kind": "approval", "question": "Shall it go on?", "timeout": timeout, **ways}


def _outward(webhooks: str) -> dict[str, dict[str, Any]]:
    """Until it has heard of itself."""
    return {
        "hello": _send("hello", "pause"),
        "pause": {"kind": "wait", "for": _SHORT, "next": "ways"},
        "ways": {"kind": "split", "ways": [{"name": "a", "next": "mark-a"}, {"name": "b", "next": "mark-b"}]},
        "mark-a": {"kind": "update_contact", "set": {"way": "a"}, "next": "enlist"},
        "mark-b": {"kind": "update_contact", "set": {"way": "b"}, "next": "enlist"},
        "enlist": {"kind": "add_to_list", "list": LIST, "next": "listed"},
        "listed": {
            "kind": "branch",
            "choices": [
                {
                    "when": {"kind": "all", "rules": [{"kind": "list", "key": LIST}, _way("a")]},
                    "next": "delist",
                },
                {"when": {"kind": "list", "key": LIST}, "next": "tell"},
            ],
            "else": "wrong",
        },
        "delist": {"kind": "remove_from_list", "list": LIST, "next": "tell"},
        "tell": {"kind": "webhook", "url": f"{webhooks}/taken", "on_failure": "wrong", "next": REFUSED},
        REFUSED: {"kind": "webhook", "url": f"{webhooks}/refused", "on_failure": "emit", "next": "wrong"},
        "emit": {"kind": "emit_event", "event": EMITTED, "next": "own"},
        "own": _ask(EMITTED, "quiz"),
    }


def _homeward() -> dict[str, dict[str, Any]]:
    """What people have a say in."""
    return {
        "quiz": _ask(QUIZZED, "result", keep_as="quiz"),
        "result": {
            "kind": "branch",
            "choices": [{"where": [{"property": "quiz.points", "is": {"op": "gte", "value": 5}}], "next": "approve"}],
            "else": "unanswered",
        },
        "approve": _approval("yes", rejected="no", timeout=_LONG, late="wrong"),
        "yes": _send("yes", "unanswered"),
        "no": {**_send("no", "rejected"), "class": "transactional"},
        "rejected": {"kind": "exit", "reason": "rejected"},
        "unanswered": {**_ask("never", "wrong"), "timeout": _SHORT, "on_timeout": "silence"},
        "silence": _approval("wrong", rejected="wrong", timeout=_SHORT, late="another"),
        "another": {"kind": "start_journey", "journey": AFTERWARDS, "next": "last"},
        "last": {**_ask(FINISHED, "bye"), "on_timeout": "skipped"},
        "skipped": {"kind": "exit", "reason": "skipped"},
        "bye": _send("bye", "end", fallback={"channel": "sms", "template": TEXTS[0], "after": "PT20S"}),
        "wrong": {"kind": "exit", "reason": "wrong"},
    }


def document(webhooks: str) -> dict[str, Any]:
    """The journey; `webhooks` is where its posts go to. What must never happen leads to `wrong`."""
    return {
        "journey": JOURNEY,
        "name": "Every kind of step",
        "entry": {"kind": "event", "event": ENTERED},
        "goal": {"event": SUBSCRIBED, "name": "subscribed"},
        "exits": [{"event": CANCELLED, "reason": "cancelled"}],
        "start": "hello",
        "steps": {**_outward(webhooks), **_homeward()},
    }


def _way(value: str) -> dict[str, Any]:
    return {"kind": "attribute", "name": "way", "is": {"op": "eq", "value": value}}


def afterwards() -> dict[str, Any]:
    """The journey that the other one starts."""
    steps = {"thanks": _send("thanks", "done"), "done": {"kind": "exit", "reason": "thanked"}}
    return {"journey": AFTERWARDS, "name": "After it", "entry": {"kind": "api"}, "start": "thanks", "steps": steps}


class Last(StrEnum):
    """What happens at the last step but one."""

    FINISHED = "finished"
    SUBSCRIBED = "subscribed"
    CANCELLED = "cancelled"
    REMOVED = "removed"
    MOVED = "moved"
    SKIPPED = "skipped"


_LASTS = (Last.FINISHED, Last.SUBSCRIBED, Last.FINISHED, Last.CANCELLED, Last.REMOVED, Last.MOVED, Last.SKIPPED)


@dataclass(frozen=True, slots=True)
class Did:
    """The contact does something."""

    event: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A person asks for something: the path below the enrollment's, and the body."""

    what: str
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Script:
    """The n-th contact."""

    number: int

    @property
    def bounces(self) -> bool:
        """Whether the last letter comes back. The contact changes its address before that: a bounce gives one up."""
        return self.number % 5 == 0 and self.last in (Last.FINISHED, Last.MOVED)

    @property
    def last(self) -> Last:
        """At the step `last`."""
        return _LASTS[self.number % len(_LASTS)]

    @cached_property
    def actions(self) -> Mapping[str, Did | Asked]:
        """What happens at which step."""
        return {
            "quiz": Did(QUIZZED, {"points": self.number % 10}),
            "approve": Asked("answer", {"step": "approve", "approved": self.number % 4 != 3}),
            "last": _last(self.last),
        }

    def trace(self, journey: Journey, contact: UUID, data: Mapping[str, Any]) -> Trace:
        """What must come of it: at each step in turn, a second after it began, what happens there."""
        happenings: list[Happening] = []
        done: set[int] = set()
        while True:
            trace = interpret(
                journey,
                Person(external_id=str(self.number), created_at=_START, email="a@example.test", phone="+436641234567"),
                start=_START,
                data=data,
                happenings=happenings,
                around=Around(contact=str(contact), failing_webhooks=frozenset({REFUSED})),
            )
            next_one = next(
                (each for each in trace.visits if each.number not in done and self._happens(each.step)), None
            )
            if next_one is None:
                return trace
            done.add(next_one.number)
            happenings.append(
                self._happening(next_one.step, next_one.number, next_one.entered_at + timedelta(seconds=1))
            )

    def _happens(self, step: str) -> bool:
        return step in self.actions or step == "bye"

    def _happening(self, step: str, visit: int, at: datetime) -> Happening:
        if step == "bye":
            kind = ReceiptKind.BOUNCED if self.bounces else ReceiptKind.DELIVERED
            return Receipt(at=at, visit=visit, kind=kind)
        match self.actions[step]:
            case Did(event, properties):
                return Happened(at=at, deed=Deed(name=event, occurred_at=at, properties=properties))
            case Asked("answer", body):
                return Answered(at=at, step=step, approved=body["approved"])
            case Asked("exit"):
                return Removed(at=at)
            case Asked("move", body):
                return Moved(at=at, step=body["step"])
            case Asked("skip-wait"):
                return WaitSkipped(at=at)
            case other:
                raise ValueError(f"nothing is known of {other}")


def _last(last: Last) -> Did | Asked:
    match last:
        case Last.FINISHED | Last.SUBSCRIBED | Last.CANCELLED:
            return Did(last.value, {})
        case Last.REMOVED:
            return Asked("exit", {})
        case Last.MOVED:
            return Asked("move", {"step": "bye"})
        case Last.SKIPPED:
            return Asked("skip-wait", {"step": "last"})
        case _:
            assert_never(last)


def read(said: Mapping[str, Any]) -> Journey:
    """A document's journey."""
    return read_journey(dict(said))
