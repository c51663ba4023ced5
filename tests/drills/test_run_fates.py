"""Exactly once, by run: two campaigns to the same people are told apart by the attempts' runs."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from waypost.drills.run_fates import run_fates
from waypost.messaging.audit import Acceptance

SPRING, SUMMER = uuid4(), uuid4()


def accepted(*entries: tuple[UUID, str]) -> tuple[list[Acceptance], dict[UUID, UUID]]:
    runs = {uuid4(): run for run, _ in entries}
    log = [
        Acceptance(number=number, attempt_id=attempt, provider_message_id=None, recipient=who, content="same")
        for number, (attempt, (_, who)) in enumerate(zip(runs, entries, strict=True))
    ]
    return log, runs


def audiences(*people: str) -> dict[UUID, tuple[str, Sequence[str]]]:
    return {SPRING: ("spring", people), SUMMER: ("summer", people)}


def test_the_same_content_for_the_same_person_is_right_where_two_runs_sent_it() -> None:
    log, runs = accepted((SPRING, "a@x.test"), (SUMMER, "a@x.test"))
    assert all(check.ok for each in run_fates(audiences("a@x.test"), log, runs) for check in each.checks())


def test_twice_in_one_run_is_doubled_and_missing_in_the_other_is_lost() -> None:
    log, runs = accepted((SPRING, "a@x.test"), (SPRING, "A@x.test"))
    spring, summer = run_fates(audiences("a@x.test"), log, runs)
    assert (sorted(spring.duplicated), sorted(spring.lost)) == (["a@x.test"], [])
    assert (sorted(summer.duplicated), sorted(summer.lost)) == ([], ["a@x.test"])


def test_who_is_not_in_the_audience_is_unexpected() -> None:
    log, runs = accepted((SPRING, "a@x.test"), (SPRING, "b@x.test"), (SUMMER, "a@x.test"))
    spring, summer = run_fates(audiences("a@x.test"), log, runs)
    assert (sorted(spring.unexpected), sorted(summer.unexpected)) == (["b@x.test"], [])


def test_each_figure_has_its_check() -> None:
    log, runs = accepted((SPRING, "a@x.test"))
    spring, _ = run_fates(audiences("a@x.test", "b@x.test"), log, runs)
    assert [check.name for check in spring.checks() if not check.ok] == ["spring: recipients reached", "spring: lost"]
    assert spring.figures() == {"asked": 2, "arrived": 1, "lost": 1, "duplicated": 0, "unexpected": 0}
