"""What a provider's reply means for the attempt, its message and its account. Decided here and nowhere else."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never

from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.messaging.values import AttemptState, Outcome, Phase
from waypost.store.attempts import Ending
from waypost.store.denials import Denials

THROTTLE_WAIT = timedelta(seconds=2)
UNREACHED_WAIT = timedelta(seconds=5)
PAUSE_RETRY = timedelta(seconds=20)
QUOTA_RETRY = timedelta(minutes=5)
UNUSABLE_RETRY = timedelta(minutes=1)
"""How soon an account whose credentials or endpoint cannot be used is looked at again."""

DENIED_WAIT = timedelta(seconds=20)
DENIALS_TO_REJECT = 3
"""So many denials of one message, while others of its account go through, are its own."""

FENCE_PASSED = Ending(
    state=AttemptState.VOID, phase=Phase.READY, code="fence_passed", reason="fence_passed", retry_after=timedelta()
)
"""Too long between claim and call: proof that nothing was sent, so it is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequence:
    """The ending to record, and what the account does about it."""

    ending: Ending
    slow_down: bool = False
    pause: timedelta | None = None
    """Pause the account and try it again after this long."""
    suppress: bool = False


def judge_denied(reply: ProviderReply, seen: Denials) -> ProviderReply:
    """Whose a 401 or 403 is that does not say so: the account's where nothing else gets through, else the message's.

    It stays a denial while that is open; then the message is put back and nobody else waits.
    """
    if seen.earlier + 1 >= DENIALS_TO_REJECT and seen.others_accepted_since:
        return replace(reply, kind=ReplyKind.REJECTED)
    if not seen.others_accepted:
        return replace(reply, kind=ReplyKind.ACCOUNT_BLOCKED)
    return reply


def consequence(reply: ProviderReply, *, second_try_left: bool, at_most_once: bool) -> Consequence:
    """Map a reply. `second_try_left`: a login code that has not used its one; `at_most_once`: unknown is given up."""
    match reply.kind:
        case ReplyKind.ACCEPTED:
            return Consequence(ending=_accepted(reply))
        case ReplyKind.THROTTLED:
            return Consequence(ending=_void(reply, reply.retry_after or THROTTLE_WAIT, "throttled"), slow_down=True)
        case ReplyKind.NOT_REACHED:
            return Consequence(ending=_void(reply, reply.retry_after or UNREACHED_WAIT, "provider_not_reached"))
        case ReplyKind.ACCOUNT_BLOCKED:
            wait = QUOTA_RETRY if "quota" in (reply.code or "") else PAUSE_RETRY
            return Consequence(ending=_void(reply, timedelta(), "account_paused"), pause=reply.retry_after or wait)
        case ReplyKind.DENIED:
            return Consequence(ending=_void(reply, reply.retry_after or DENIED_WAIT, "access_denied"))
        case ReplyKind.REJECTED:
            return Consequence(ending=_rejected(reply), suppress=reply.suppresses)
        case ReplyKind.UNKNOWN:
            return Consequence(ending=_unknown(reply, second_try_left=second_try_left, at_most_once=at_most_once))
    assert_never(reply.kind)


def _accepted(reply: ProviderReply) -> Ending:
    return Ending(
        state=AttemptState.ACCEPTED,
        phase=Phase.CLOSED,
        provider_message_id=reply.provider_message_id,
        outcome=Outcome.SENT,
        reason="accepted",
        starts_fallback=True,
    )


def _void(reply: ProviderReply, wait: timedelta, reason: str) -> Ending:
    return Ending(state=AttemptState.VOID, phase=Phase.READY, code=reply.code, reason=reason, retry_after=wait)


def _rejected(reply: ProviderReply) -> Ending:
    return Ending(
        state=AttemptState.REJECTED,
        phase=Phase.CLOSED,
        code=reply.code,
        outcome=Outcome.FAILED,
        reason=reply.code or "rejected",
        starts_fallback=True,
    )


def _unknown(reply: ProviderReply, *, second_try_left: bool, at_most_once: bool) -> Ending:
    if at_most_once:
        return Ending(
            state=AttemptState.ASSUMED_SENT,
            phase=Phase.CLOSED,
            code=reply.code,
            outcome=Outcome.MAYBE_SENT,
            reason="at_most_once",
            starts_fallback=True,
        )
    return Ending(
        state=AttemptState.UNKNOWN,
        phase=Phase.DISPATCHED if second_try_left else Phase.HELD,
        code=reply.code,
        reason="attempt_unknown",
        starts_fallback=True,
    )
