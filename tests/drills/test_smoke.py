"""Every drill at smoke scale, on a real stack of its own: what it claims, it shows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from waypost.drills import (
    dependency_outage,
    duplicate_watchdog,
    feed_outage,
    kill_nine,
    kill_nine_journeys,
    pause_and_caps,
)
from waypost.drills.report import Report
from waypost.drills.running import DrillRun, Scale, Silence


def run(drill: Callable[[DrillRun], Awaitable[Report]]) -> Report:
    async def whole() -> Report:
        return await drill(DrillRun(scale=Scale.SMOKE, seed=1, narrator=Silence()))

    return asyncio.run(whole())


def assert_passed(report: Report) -> None:
    failed = [f"{check.name}: {check.value}, must be {check.bound}" for check in report.checks if not check.ok]
    assert not failed, f"{failed}\n{dict(report.figures)}"


@pytest.mark.timeout(240)
def test_nothing_is_lost_or_sent_twice_whatever_is_killed() -> None:
    assert_passed(run(kill_nine.run))


@pytest.mark.timeout(300)
def test_each_contact_walks_a_journey_to_its_end_whatever_worker_is_killed() -> None:
    assert_passed(run(kill_nine_journeys.run))


@pytest.mark.timeout(240)
def test_nothing_is_sent_again_blindly_while_the_feed_is_silent() -> None:
    assert_passed(run(feed_outage.run))


@pytest.mark.timeout(240)
def test_the_api_answers_while_temporal_or_postgresql_is_away() -> None:
    assert_passed(run(dependency_outage.run))


@pytest.mark.timeout(300)
def test_each_recipient_gets_each_campaign_once_whoever_starts_it_again() -> None:
    assert_passed(run(duplicate_watchdog.run))


@pytest.mark.timeout(300)
def test_a_pause_bites_a_cap_holds_and_a_small_campaign_overtakes() -> None:
    assert_passed(run(pause_and_caps.run))
