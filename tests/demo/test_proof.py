from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from waypost.demo.endings import End
from waypost.demo.proof import Proof, prove
from waypost.messaging.audit import Acceptance, AuditedAttempt
from waypost.messaging.values import AttemptState, Outcome

_ROW = {"channel": "email", "outcome": "sent", "delivery": "delivered"} | dict.fromkeys(
    ("bounced", "complained", "undeliverable"), False
)


class Run:
    """A run of three e-mails of which all went well."""

    def __init__(self) -> None:
        self.messages = [uuid4() for _ in range(3)]
        self.foreseen = {message: frozenset({End.DELIVERED}) for message in self.messages}
        self.rows: dict[UUID, dict[str, Any]] = {message: dict(_ROW) for message in self.messages}
        self.attempts = [_attempt(message, number) for number, message in enumerate(self.messages)]
        self.log = [_entry(attempt, number) for number, attempt in enumerate(self.attempts)]
        self.probes: set[UUID] = set()

    def proof(self) -> Proof:
        return prove(
            rows=self.rows,
            foreseen=self.foreseen,
            repeats=(2, 2),
            attempts=self.attempts,
            log=self.log,
            probes=self.probes,
        )

    def failed(self) -> set[str]:
        return {check.name for check in self.proof().report(seconds={}).checks if not check.ok}


def _attempt(message: UUID, number: int) -> AuditedAttempt:
    return AuditedAttempt(
        id=uuid4(),
        message_id=message,
        state=AttemptState.ACCEPTED,
        resolution=None,
        provider_message_id=f"p{number}",
        address=f"a{number}@example.com",
        outcome=Outcome.SENT,
    )


def _entry(attempt: AuditedAttempt, number: int, *, content: str = "c") -> Acceptance:
    return Acceptance(
        number=number,
        attempt_id=attempt.id,
        provider_message_id=attempt.provider_message_id,
        recipient=attempt.address,
        content=content,
    )


@pytest.fixture
def run() -> Run:
    return Run()


def test_a_run_that_went_well_passes(run: Run) -> None:
    report = run.proof().report(seconds={"play": 1.0})
    assert report.passed
    assert (report.figures["accepted"], report.figures["sent"], report.figures["delivered"]) == (3, 3, 3)


def test_what_the_provider_never_had_is_lost(run: Run) -> None:
    del run.log[0]
    assert run.proof().lost == 1
    assert "lost" in run.failed()


def test_what_the_ledger_forgot_is_lost(run: Run) -> None:
    del run.rows[run.messages[0]]
    assert "lost" in run.failed()


def test_what_the_provider_accepted_twice_is_a_duplicate_also_under_another_attempt(run: Run) -> None:
    second = replace(run.attempts[0], id=uuid4())
    run.attempts.append(second)
    run.log.append(_entry(second, 3))
    assert run.proof().duplicated == 1
    assert "duplicated" in run.failed()


def test_what_the_ledger_does_not_know_is_unexpected(run: Run) -> None:
    run.log.append(_entry(_attempt(uuid4(), 7), 7))
    assert "in the provider's log, not in the ledger" in run.failed()


def test_the_traffic_of_others_on_the_same_stack_is_left_out(run: Run) -> None:
    other, probe = _attempt(uuid4(), 8), _attempt(uuid4(), 9)
    run.attempts.append(other)
    run.probes.add(probe.id)
    run.log += [_entry(other, 8), _entry(probe, 9)]
    assert run.failed() == set()


def test_an_attempt_of_which_nobody_knows_is_unknown(run: Run) -> None:
    run.attempts[0] = replace(run.attempts[0], state=AttemptState.UNKNOWN)
    run.rows[run.messages[0]]["outcome"] = None
    assert {"unknown", "messages without an outcome"} <= run.failed()


def test_an_end_that_nobody_foresaw_fails(run: Run) -> None:
    run.rows[run.messages[0]]["bounced"] = True
    assert run.failed() == {"messages that ended as their addresses foretell"}
