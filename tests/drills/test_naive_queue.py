"""The control of pause-and-caps is no straw man: calm, it holds pauses and caps; it looks once a page, as such do."""

from collections import Counter
from pathlib import Path

import pytest

from waypost.drills.naive import open_ses
from waypost.drills.naive_queue import PAGE, PageQueue, PageWorker
from waypost.drills.queue_control import QueueControlled, QueueRun
from waypost.simulators.running import RunningSimulator

KEY = "NAIVEQUEUE"


@pytest.fixture
def queue(tmp_path: Path) -> PageQueue:
    return PageQueue(tmp_path / "queue.db")


@pytest.fixture
def worker(queue: PageQueue, simulator: RunningSimulator) -> PageWorker:
    return PageWorker(queue, open_ses(endpoint=simulator.url, key=KEY))


def people(name: str, count: int) -> list[str]:
    return [f"{name}-{number}@naive-queue.test" for number in range(count)]


def got(simulator: RunningSimulator, name: str) -> Counter[str]:
    log = simulator.control.log()
    return Counter(entry["recipient"] for entry in log if entry["recipient"].startswith(f"{name}-"))


def test_one_campaign_after_the_other_reaches_each_person_once(
    queue: PageQueue, worker: PageWorker, simulator: RunningSimulator
) -> None:
    everybody = people("after", PAGE + 5)
    for _ in range(2):
        queue.add(everybody)
        assert worker.step()
        assert worker.step()
    assert (worker.step(), queue.unfinished()) == (False, 0)
    assert got(simulator, "after") == dict.fromkeys(everybody, 1)


def test_a_campaign_that_is_paused_before_it_starts_waits_until_it_is_resumed(
    queue: PageQueue, worker: PageWorker, simulator: RunningSimulator
) -> None:
    (campaign,) = queue.add(people("paused", 3), paused=True)
    assert not worker.step()
    queue.pause(campaign, paused=False)
    assert worker.step()
    assert got(simulator, "paused").total() == 3


def test_what_two_pages_counted_before_either_sent_both_send(queue: PageQueue) -> None:
    queue.add(people("same", 2), people("same", 2))
    pages = [page for page in (queue.take(), queue.take()) if page is not None]
    for page in pages:
        queue.skip_capped(page)
    assert [len(queue.unsent(page)) for page in pages] == [2, 2]


def test_a_page_with_somebody_left_goes_back_before_those_behind_it(queue: PageQueue) -> None:
    queue.add(people("first", 2), people("second", 2))
    page = queue.take()
    assert page is not None
    queue.sent(queue.unsent(page)[0])
    queue.done(page)
    assert queue.take() == page


def test_the_control_must_pass_each_part_when_calm_and_fail_each_under_its_condition() -> None:
    good = QueueRun(over_the_cap=0, after_pause=0, small_s=2.0, astray=0)
    bad = QueueRun(over_the_cap=9, after_pause=9, small_s=12.0, astray=0)
    assert all(check.ok for check in QueueControlled(calm=good, stricken=bad).checks())
    assert not any(check.ok for check in QueueControlled(calm=good, stricken=good).checks()[-3:])
    assert not any(check.ok for check in QueueControlled(calm=bad, stricken=bad).checks()[:3])
