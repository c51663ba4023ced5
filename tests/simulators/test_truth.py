from pathlib import Path
from typing import Any

import pytest

from tests.simulators.clients import Aws
from waypost.simulators.errors import TruthLogError
from waypost.simulators.running import RunningSimulator
from waypost.simulators.truth import TruthLog


def entry(recipient: str, body: str = "b") -> dict[str, Any]:
    return {"provider": "ses", "account": "k", "recipient": recipient, "body_sha256": body}


def test_pages_go_through_the_whole_log(tmp_path: Path) -> None:
    log = TruthLog(tmp_path / "log.jsonl")
    for number in range(1000):
        log.append(entry(f"r{number}"))
    assert [each["recipient"] for each in log.page(300, 3)] == ["r300", "r301", "r302"]
    assert [each["n"] for each in log.page(998, 100)] == [998, 999]
    assert log.page(1000, 10) == []
    log.close()


def test_the_same_content_to_the_same_recipient_counts_as_a_duplicate(tmp_path: Path) -> None:
    log = TruthLog(tmp_path / "log.jsonl")
    for recipient, body in [("a", "1"), ("a", "2"), ("b", "1"), ("a", "1"), ("a", "1")]:
        log.append(entry(recipient, body))
    assert log.duplicates == 2
    assert list(log.recent_duplicates) == [3, 4]
    log.close()


def test_a_log_is_continued_and_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = TruthLog(path)
    log.append(entry("a"))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"n": 1, "prov')
    again = TruthLog(path)
    assert again.count == 1
    assert again.append(entry("a")) == 1
    assert again.duplicates == 1
    assert [each["recipient"] for each in again.page(0, 10)] == ["a", "a"]
    again.close()


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("something else\n")
    with pytest.raises(TruthLogError):
        TruthLog(path)


def test_a_log_without_a_name_goes_away(tmp_path: Path) -> None:
    log = TruthLog(None)
    assert log.path.exists()
    log.close()
    assert not log.path.exists()


def test_a_killed_simulator_has_lost_no_acceptance(tmp_path: Path) -> None:
    path = tmp_path / "truth" / "log.jsonl"
    with RunningSimulator(log_path=path) as first:
        client = Aws(first, "AKIAKILLED")
        sent = [client.send(f"p{number}@example.com") for number in range(5)]
        client.close()
        first.kill()
    with RunningSimulator(log_path=path, in_thread=True) as second:
        assert [each["message_id"] for each in second.control.log()] == sent
        assert second.control.stats()["accepted"] == 5
