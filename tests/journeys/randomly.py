"""Random journeys, and random things that happen to who walks them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from tests.journeys.examples import MONDAY, did
from waypost.journeys.document import Journey, read_journey, write_journey
from waypost.journeys.happenings import (
    Answered,
    ContactChanged,
    ContactDeleted,
    Happening,
    Moved,
    OnResume,
    Paused,
    Receipt,
    ReceiptKind,
    Removed,
    Resumed,
    WaitSkipped,
)
from waypost.journeys.validation import check_journey

IDS = ("a", "b", "c", "d", "e")
ANY = st.sampled_from([*IDS, "end"])
EVENT = st.sampled_from(["x", "y", "z"])
SPAN = st.sampled_from(["PT1S", "PT1H", "P1D", "P3D"])
CONDITION = st.sampled_from(
    [
        {"kind": "attribute", "name": "n", "is": {"op": "eq", "value": 1}},
        {"kind": "list", "key": "l"},
        {"kind": "event", "name": "x"},
        {"kind": "message", "event": "delivered"},
        {"kind": "not", "rule": {"kind": "list", "key": "l"}},
    ]
)
WATCH = st.fixed_dictionaries({"event": EVENT}) | st.fixed_dictionaries({"condition": CONDITION})
CLOCK = st.sampled_from(["09:00", "02:30", "23:59"])


def _step(kind: str, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"kind": st.just(kind), **fields})


def _fallback() -> st.SearchStrategy[dict[str, Any]]:
    """Due when nothing else is: of two things at one moment either may come first on a real machine."""
    after = st.sampled_from(["PT1S", "PT71M", "PT1447M"])
    return st.fixed_dictionaries({"channel": st.just("sms"), "template": st.just("u"), "after": after})


MAIL = {"channel": st.just("email"), "template": st.just("t"), "class": st.sampled_from(["marketing", "transactional"])}


def _steps(place: int) -> st.SearchStrategy[dict[str, Any]]:
    """A step that leads on, and back only where time passes."""
    later = st.sampled_from([*IDS[place + 1 :], "end"])
    return st.one_of(
        _step("send", **MAIL, next=later),
        _step("send", **MAIL, fallback=_fallback(), next=later),
        _step("wait", **{"for": SPAN}, next=ANY),
        _step("wait", until=st.fixed_dictionaries({"time": CLOCK}), next=ANY),
        _step(
            "wait", date=st.fixed_dictionaries({"attribute": st.just("day"), "at": CLOCK}), otherwise=later, next=later
        ),
        _step("wait_for", **{"for": WATCH}, timeout=SPAN, next=later, on_timeout=ANY),
        _step(
            "branch",
            choices=st.lists(st.fixed_dictionaries({"when": CONDITION, "next": later}), min_size=1, max_size=2),
            **{"else": later},
        ),
        _step("split", ways=st.tuples(*(st.fixed_dictionaries({"name": st.just(n), "next": later}) for n in "pq"))),
        _step("update_contact", set=st.fixed_dictionaries({"n": st.integers(0, 1)}), next=later),
        _step("add_to_list", list=st.just("l"), next=later),
        _step("remove_from_list", list=st.just("l"), next=later),
        _step("emit_event", event=EVENT, next=later),
        _step("start_journey", journey=st.just("other"), next=later),
        _step("webhook", url=st.just("https://a.example/"), on_failure=later, next=later),
        _step("approval", question=st.just("?"), timeout=SPAN, next=ANY, on_reject=ANY, on_timeout=ANY),
        _step("exit", reason=st.just("out")),
    )


DOCUMENT = st.fixed_dictionaries(
    {
        "journey": st.just("random"),
        "name": st.just("Random"),
        "entry": st.just({"kind": "api"}),
        "start": st.just("a"),
        "steps": st.fixed_dictionaries({step: _steps(place) for place, step in enumerate(IDS)}),
    },
    optional={
        "goal": WATCH,
        "exits": st.lists(WATCH.map(lambda watch: {**watch, "reason": "bye"}), max_size=1),
        "quiet_hours": st.just({"start": "21:00", "end": "08:00"}),
        "frequency_caps": st.just([{"limit": 2, "period": "PT20H30M"}]),
    },
)
MOMENT = st.integers(0, 100).map(lambda hours: MONDAY + timedelta(hours=hours))
HAPPENING: st.SearchStrategy[Happening] = st.one_of(
    st.builds(lambda at, name: did(name, at), MOMENT, EVENT),
    st.builds(lambda at, n: ContactChanged(at=at, attributes={"n": n}), MOMENT, st.sampled_from([None, 0, 1])),
    st.builds(
        lambda at, day: ContactChanged(at=at, attributes={"day": day}),
        MOMENT,
        st.sampled_from([None, "2026-11-25", "2026-11-30"]),
    ),
    st.builds(
        lambda at, zone: ContactChanged(at=at, fields={"time_zone": zone}),
        MOMENT,
        st.sampled_from([None, "Asia/Tokyo"]),
    ),
    st.builds(Receipt, at=MOMENT, visit=st.integers(1, 4), kind=st.sampled_from(ReceiptKind)),
    st.builds(Answered, at=MOMENT, step=st.sampled_from(IDS), approved=st.booleans()),
    st.builds(Paused, at=MOMENT),
    st.builds(Resumed, at=MOMENT, policy=st.sampled_from(OnResume)),
    st.builds(WaitSkipped, at=MOMENT),
    st.builds(Moved, at=MOMENT, step=st.sampled_from([*IDS, "nowhere"])),
    st.builds(Removed, at=MOMENT) | st.builds(ContactDeleted, at=MOMENT),
)


def pruned(said: dict[str, Any]) -> Journey | None:
    """The journey of a document without its unreachable steps; None where it is not valid even so."""
    journey = read_journey(said)
    checked = check_journey(_text(said))
    unreachable = {one.step for one in checked.problems if one.code == "unreachable"}
    steps = {step_id: step for step_id, step in said["steps"].items() if step_id not in unreachable}
    if not steps:
        return None
    checked = check_journey(_text({**said, "steps": steps}))
    assert checked.journey is None or checked.journey == replace_steps(journey, steps)
    return checked.journey


def replace_steps(journey: Journey, steps: dict[str, Any]) -> Journey:
    """The journey with these steps alone."""
    return read_journey({**write_journey(journey), "steps": steps})


def _text(said: dict[str, Any]) -> str:
    return json.dumps(said)
