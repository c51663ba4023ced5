"""What a provider's reply means: the one table, row by row."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activities.failures import DENIALS_TO_REJECT, FENCE_PASSED, PAUSE_RETRY, QUOTA_RETRY, consequence, judge_denied
from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import OPEN_ATTEMPT_STATES, AttemptState, Outcome, Phase
from waypost.store.denials import Denials

PROVES_UNSENT = [ReplyKind.THROTTLED, ReplyKind.NOT_REACHED, ReplyKind.ACCOUNT_BLOCKED, ReplyKind.DENIED]


@pytest.mark.parametrize("kind", ReplyKind)
@pytest.mark.parametrize("second_try_left", [True, False])
@pytest.mark.parametrize("at_most_once", [True, False])
def test_nothing_but_proof_lets_a_message_be_tried_again(
    kind: ReplyKind, *, second_try_left: bool, at_most_once: bool
) -> None:
    ending = consequence(ProviderReply(kind=kind), second_try_left=second_try_left, at_most_once=at_most_once).ending
    assert (ending.phase is Phase.READY) == (kind in PROVES_UNSENT)
    assert (ending.state is AttemptState.VOID) == (kind in PROVES_UNSENT)
    assert (ending.outcome is not None) == (ending.phase is Phase.CLOSED)
    if kind is ReplyKind.UNKNOWN:
        assert ending.state in OPEN_ATTEMPT_STATES


def test_an_unknown_login_code_stays_with_its_execution_while_it_has_a_second_try() -> None:
    reply = ProviderReply(kind=ReplyKind.UNKNOWN)
    assert consequence(reply, second_try_left=True, at_most_once=False).ending.phase is Phase.DISPATCHED
    assert consequence(reply, second_try_left=False, at_most_once=False).ending.phase is Phase.HELD


def test_at_most_once_gives_up_an_unknown_attempt_at_once() -> None:
    ending = consequence(ProviderReply(kind=ReplyKind.UNKNOWN), second_try_left=True, at_most_once=True).ending
    assert (ending.state, ending.outcome) == (AttemptState.ASSUMED_SENT, Outcome.MAYBE_SENT)


@pytest.mark.parametrize(
    ("code", "retry_after", "pause"),
    [
        ("daily_quota", None, QUOTA_RETRY),
        ("SignatureDoesNotMatch", None, PAUSE_RETRY),
        (None, None, PAUSE_RETRY),
        ("daily_quota", timedelta(hours=1), timedelta(hours=1)),
    ],
)
def test_how_long_a_blocked_account_pauses(code: str | None, retry_after: timedelta | None, pause: timedelta) -> None:
    reply = ProviderReply(kind=ReplyKind.ACCOUNT_BLOCKED, code=code, retry_after=retry_after)
    assert consequence(reply, second_try_left=False, at_most_once=False).pause == pause


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (Denials(earlier=0, others_accepted=True), ReplyKind.DENIED),
        (Denials(earlier=9, others_accepted=True, others_accepted_since=False), ReplyKind.DENIED),
        (Denials(earlier=DENIALS_TO_REJECT - 2, others_accepted_since=True), ReplyKind.DENIED),
        (Denials(earlier=DENIALS_TO_REJECT - 1, others_accepted_since=True), ReplyKind.REJECTED),
        (Denials(earlier=9, others_accepted=False), ReplyKind.ACCOUNT_BLOCKED),
    ],
)
def test_a_denial_is_the_messages_where_others_go_through_and_else_the_accounts(seen: Denials, kind: ReplyKind) -> None:
    reply = ProviderReply(kind=ReplyKind.DENIED, code="access_denied")
    assert judge_denied(reply, seen).kind is kind
    assert consequence(reply, second_try_left=False, at_most_once=False).pause is None


def test_a_passed_fence_is_proof_that_nothing_was_sent() -> None:
    assert (FENCE_PASSED.state, FENCE_PASSED.phase) == (AttemptState.VOID, Phase.READY)
