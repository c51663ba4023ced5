"""The journeys that the benches walk."""

from collections.abc import Mapping
from typing import Any

from waypost.bench.journey_arm import JOINED

AWAITED = "bought"
PURCHASE = "purchase"
"""The step that waits for it."""

WAITING: Mapping[str, Any] = {
    "journey": "waiting",
    "name": "Waits for a purchase, again and again",
    "entry": {"kind": "event", "event": JOINED},
    "reentry": "after_exit",
    "start": PURCHASE,
    "steps": {
        PURCHASE: {
            "kind": "wait_for",
            "for": {"event": AWAITED},
            "timeout": "P30D",
            "next": PURCHASE,
            "on_timeout": "end",
        }
    },
}

STEP = "moment"
STEPS = 2

MOMENT: Mapping[str, Any] = {
    "journey": "one-moment",
    "name": "Waits until a moment, which comes with the event",
    "entry": {"kind": "event", "event": JOINED, "expects": ["moment"]},
    "start": STEP,
    "steps": {
        STEP: {"kind": "wait", "date": {"property": "moment"}, "next": "plan"},
        "plan": {
            "kind": "branch",
            "choices": [
                {"when": {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "team"}}, "next": "end"}
            ],
            "else": "end",
        },
    },
}

LETTER = "bench-hello"


def _send(onward: str) -> Mapping[str, Any]:
    return {"kind": "send", "channel": "email", "template": LETTER, "next": onward}


TOUR: Mapping[str, Any] = {
    "journey": "tour",
    "name": "Ten steps, as many as most journeys have",
    "entry": {"kind": "api"},
    "start": "hello",
    "steps": {
        "hello": _send("pause"),
        "pause": {"kind": "wait", "for": "PT1S", "next": "which"},
        "which": {"kind": "split", "ways": [{"name": "a", "next": "mark"}, {"name": "b", "next": "mark"}]},
        "mark": {"kind": "update_contact", "set": {"toured": True}, "next": "tell"},
        "tell": {"kind": "emit_event", "event": "toured", "next": "answer"},
        "answer": {
            "kind": "wait_for",
            "for": {"event": "answered"},
            "timeout": "PT1S",
            "next": "again",
            "on_timeout": "again",
        },
        "again": _send("later"),
        "later": {"kind": "wait", "for": "PT1S", "next": "plan"},
        "plan": {
            "kind": "branch",
            "choices": [
                {"when": {"kind": "attribute", "name": "plan", "is": {"op": "eq", "value": "team"}}, "next": "bye"}
            ],
            "else": "bye",
        },
        "bye": _send("end"),
    },
}
