"""Rates are of the middle of an arm, and of that arm alone."""

from waypost.bench.arrivals import arrivals


def entries(*times: float, word: str = "mine") -> list[dict[str, object]]:
    return [{"monotonic": at, "recipient": f"ok+{word}-{number}@crowd.test"} for number, at in enumerate(times)]


def test_a_slow_start_and_a_late_tail_do_not_count() -> None:
    steady = [100 + number / 10 for number in range(100)]
    steady[0], steady[-1] = 0.0, 1_000.0
    found = arrivals(entries(*steady), word="mine")
    assert round(found.rate(), 6) == 10
    assert (found.first, found.last, found.seconds) == (0.0, 1_000.0, 1_000.0)


def test_another_arms_recipients_are_left_out() -> None:
    found = arrivals([*entries(1, 2, 3), *entries(4, 5, word="theirs")], word="mine")
    assert found.count == 3


def test_what_came_at_one_moment_has_no_rate() -> None:
    assert arrivals(entries(1, 1, 1), word="mine").rate() == 0
