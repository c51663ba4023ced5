"""A journey of ninety days and ten steps: the whole command, by the clock on the wall and by what it must tell."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

BAR_S = 5.0
JOURNEY = """
journey: ninety-days
name: Ninety days
entry: {kind: event, event: signed_up, expects: [plan]}
quiet_hours: {start: "21:00", end: "08:00"}
start: welcome
steps:
  welcome: {kind: send, channel: email, template: welcome, next: a-week}
  a-week: {kind: wait, for: P7D, next: active}
  active:
    kind: branch
    choices: [{name: active, when: {kind: event, name: used, at_least: 1}, next: praise}]
    else: nudge
  praise: {kind: send, channel: email, template: praise, next: buys}
  nudge: {kind: send, channel: sms, template: nudge, next: buys}
  buys: {kind: wait_for, for: {event: bought}, timeout: P30D, next: mark, on_timeout: offer}
  offer:
    kind: send
    channel: email
    template: offer
    fallback: {channel: sms, template: offer-sms, after: P1D}
    next: mark
  mark: {kind: update_contact, set: {stage: {property: plan}}, next: monday}
  monday: {kind: wait, date: {attribute: ends_on, at: "09:00"}, next: goodbye}
  goodbye: {kind: send, channel: email, template: goodbye, class: transactional, next: end}
"""
EVENTS = """
- {at: P3D, event: used}
- {receipt: bounced, step: offer, after: PT10M}
"""
CONTACT = {
    "id": "ann",
    "email": "ann@example.com",
    "phone": "+436641234567",
    "time_zone": "Europe/Vienna",
    "attributes": {"ends_on": "2027-02-21"},
}
SENT = [
    ("2026-11-24T08:00:00", "welcome", "ann@example.com"),  # signed up at half past ten in the evening
    ("2026-12-01T08:00:00", "praise", "ann@example.com"),
    ("2026-12-31T08:00:00", "offer", "ann@example.com"),
    ("2026-12-31T08:10:00", "offer-sms", "+436641234567"),  # the email bounced
]


def _simulate(folder: Path, cache: Path) -> tuple[dict[str, object], float]:
    (folder / "journey.yaml").write_text(JOURNEY)
    (folder / "events.yaml").write_text(EVENTS)
    program = Path(sysconfig.get_path("scripts")) / "waypost"
    options = ["--contact", json.dumps(CONTACT), "--events", "events.yaml", "--data", '{"plan": "pro"}']
    begun = time.monotonic()
    done = subprocess.run(
        [program, "journeys", "simulate", "journey.yaml", *options, "--start", "2026-11-23T22:30", "--json"],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    took = time.monotonic() - begun
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout), took


def test_ninety_days_pass_in_five_seconds_and_as_they_must(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    first, cold = _simulate(tmp_path, cache)
    told, warm = _simulate(tmp_path, cache)
    for _ in range(2):  # others may want this machine, too
        if warm >= BAR_S:
            warm = min(warm, _simulate(tmp_path, cache)[1])
    assert told == first, "the same simulation tells the same again"
    lines = told["timeline"]
    assert isinstance(lines, list)
    sent = [(one["local"], one["template"], one["to"]) for one in lines if one["kind"] == "sent"]
    assert sent == SENT
    (refused,) = [one for one in lines if one["kind"] == "not_sent"]
    assert (refused["local"], refused["template"], refused["reason"]) == ("2027-02-21T09:00:00", "goodbye", "bounce")
    (late,) = [one for one in lines if one["kind"] == "put_off"]
    assert late["reason"] == "quiet_hours"
    assert lines[-1]["kind"] == "ended"
    assert lines[-1]["local"] == "2027-02-21T09:00:00"
    with capsys.disabled():
        print(f"\n90 days, 10 steps: {warm:.2f} s with a warm cache, {cold:.2f} s with a cold one")  # noqa: T201 - the bar
    assert warm < BAR_S
