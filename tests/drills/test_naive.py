"""The control is no straw man: calm, it does its job, and it survives a kill as such platforms do."""

from pathlib import Path

import pytest

from waypost.drills.fates import fates
from waypost.drills.fault_points import FaultPoints
from waypost.drills.naive import TRIES, Jobs, NaiveWorker, open_ses
from waypost.messaging.provider_log import acceptance
from waypost.simulators.running import RunningSimulator

KEY = "NAIVETEST"


@pytest.fixture
def worker(tmp_path: Path, simulator: RunningSimulator) -> tuple[Jobs, NaiveWorker]:
    jobs = Jobs(tmp_path / "jobs.db")
    return jobs, NaiveWorker(jobs, open_ses(endpoint=simulator.url, key=KEY), FaultPoints(tmp_path))


def test_when_calm_every_job_is_sent_once(worker: tuple[Jobs, NaiveWorker], simulator: RunningSimulator) -> None:
    jobs, loop = worker
    recipients = [f"calm-{number}@naive.test" for number in range(5)]
    jobs.add(recipients)
    while loop.step():
        pass
    found = fates(recipients, (acceptance(entry, 0) for entry in simulator.control.log()))
    assert (jobs.unfinished(), found.lost, found.duplicated) == (0, frozenset(), frozenset())


def test_a_job_is_given_up_after_its_tries(
    worker: tuple[Jobs, NaiveWorker], simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost.drills.naive.RETRY_AFTER_S", 0.0)
    jobs, loop = worker
    fault = simulator.control.add_fault(fault="error_5xx", account=KEY)[-1]
    try:
        jobs.add(["poor@naive.test"])
        while loop.step():
            pass
    finally:
        simulator.control.remove_fault(fault["id"])
    assert (jobs.unfinished(), jobs.tries()) == (0, TRIES)


def test_the_watchdog_queues_again_what_is_sending_for_too_long(
    worker: tuple[Jobs, NaiveWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, _ = worker
    jobs.add(["stuck@naive.test"])
    with jobs.commit():
        assert jobs.take() is not None
    assert jobs.take() is None
    monkeypatch.setattr("waypost.drills.naive.WATCHDOG_AFTER_S", -1.0)
    jobs.requeue_stuck()
    job = jobs.take()
    assert job is not None
    assert job.tries == 2
