"""The ledger against a provider's log: the sets of an audit."""

from uuid import UUID, uuid4

import pytest

from waypost.messaging.audit import Acceptance, AuditedAttempt, audit
from waypost.messaging.provider_log import LogLineError, read_lines
from waypost.messaging.values import AttemptState, Outcome


def attempt(
    state: AttemptState = AttemptState.ACCEPTED, *, message: UUID | None = None, **fields: str
) -> AuditedAttempt:
    return AuditedAttempt(
        id=uuid4(),
        message_id=message or uuid4(),
        state=state,
        resolution=fields.get("resolution"),
        provider_message_id=fields.get("provider_message_id"),
        address="Ann@example.com",
        outcome=Outcome.SENT,
    )


def logged(of: AuditedAttempt | None, number: int = 0, content: str = "c", **fields: str) -> Acceptance:
    return Acceptance(
        number=number,
        attempt_id=of.id if of else None,
        provider_message_id=fields.get("provider_message_id"),
        recipient=fields.get("recipient", "ann@example.com"),
        content=content,
    )


def test_a_ledger_that_tells_what_the_log_tells_is_clean() -> None:
    one, two = attempt(), attempt(AttemptState.VOID)
    found = audit([one, two], [logged(one)])
    assert found.is_clean
    assert (found.attempts, found.acceptances, found.agreed) == (2, 1, 1)


def test_an_accepted_attempt_without_a_line_is_lost() -> None:
    one = attempt()
    assert audit([one], []).lost == {one.id}


@pytest.mark.parametrize("state", [AttemptState.VOID, AttemptState.REJECTED])
def test_a_line_of_an_attempt_held_to_be_not_sent_is_unexpected(state: AttemptState) -> None:
    one = attempt(state)
    assert audit([one], [logged(one, 7)]).unexpected == {7}


def test_a_line_of_nobodys_attempt_is_unexpected() -> None:
    assert audit([], [logged(None, 3), logged(attempt(), 4)]).unexpected == {3, 4}


def test_two_attempts_of_one_message_with_the_same_content_are_a_duplicate() -> None:
    one = attempt()
    again = attempt(message=one.message_id)
    assert audit([one, again], [logged(one), logged(again, 1)]).duplicated == {one.message_id}


def test_one_attempt_twice_in_the_log_is_a_duplicate() -> None:
    one = attempt()
    assert audit([one], [logged(one), logged(one, 1)]).duplicated == {one.message_id}


def test_two_messages_with_the_same_content_to_one_person_are_none() -> None:
    one, two = attempt(), attempt()
    assert audit([one, two], [logged(one), logged(two, 1)]).is_clean


def test_a_login_code_sent_twice_is_counted_apart() -> None:
    first = attempt(AttemptState.ABANDONED, resolution="allowed_duplicate")
    second = attempt(message=first.message_id)
    found = audit([first, second], [logged(first), logged(second, 1)])
    assert found.is_clean
    assert found.allowed_duplicates == {first.message_id}


@pytest.mark.parametrize("state", [AttemptState.UNKNOWN, AttemptState.IN_FLIGHT, AttemptState.ASSUMED_SENT])
def test_an_open_question_may_be_in_the_log_or_not(state: AttemptState) -> None:
    one = attempt(state)
    assert audit([one], [logged(one)]).is_clean
    assert audit([one], []).is_clean


def test_another_recipient_or_provider_id_is_a_mismatch() -> None:
    one, two = attempt(), attempt(provider_message_id="m-1")
    found = audit([one, two], [logged(one, recipient="bob@example.com"), logged(two, 1, provider_message_id="m-2")])
    assert found.mismatched == {one.id, two.id}


def test_a_log_is_read_line_by_line_and_a_broken_line_is_named() -> None:
    good = b'{"n": 5, "attempt_id": null, "message_id": "m", "recipient": "whatsapp:+431", "body_sha256": "x"}\n'
    (entry,) = read_lines([good, b"\n"])
    assert (entry.number, entry.attempt_id, entry.recipient) == (5, None, "+431")
    with pytest.raises(LogLineError) as broken:
        list(read_lines([good, b'{"recipient": 1}']))
    assert broken.value.line == 2
