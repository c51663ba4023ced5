"""Twilio's ways to say no, in the ledger's words. Source: Twilio error dictionary.

Only codes leave this module: Twilio's texts quote the number.
"""

from datetime import timedelta

from twilio.base.exceptions import TwilioRestException, TwilioServiceException

from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.providers.errors import NotSentError, ReplyLostError

OPTED_OUT = "21610"

_THROTTLES = frozenset({"20429", "21611", "30001"})
"""Too many requests; the sender's queue is full. Not processed, so safe to try again later."""

_BLOCKS = frozenset({"20003", "20005", "20008", "20403", "30002", "63038", "90010"})
"""Authentication, an inactive or suspended account, the day's limit: every message would meet the same."""

_OF_THE_MESSAGE = "21"
"""Codes 21xxx are about this message's numbers and text (21408: its country is not enabled), whatever the status."""

_UNSURE_CODES = frozenset({"20500", "20503", "20504"})
_UNSURE_STATUSES = frozenset({408, 409, 425})
"""4xx that do not say that the request was not acted on."""


def classify(failure: Exception, *, retry_after: timedelta | None = None) -> ProviderReply:
    """What a failed call came to. `retry_after` is the reply's header, kept for what was throttled."""
    match failure:
        case NotSentError():
            return ProviderReply(kind=ReplyKind.NOT_REACHED, code=failure.code)
        case ReplyLostError():
            return ProviderReply(kind=ReplyKind.UNKNOWN, code=failure.code)
        case TwilioRestException() | TwilioServiceException():
            return _refusal(status=int(failure.status), code=str(failure.code), retry_after=retry_after)
        case _:  # a 2xx whose body is not Twilio's
            return ProviderReply(kind=ReplyKind.UNKNOWN, code="unreadable_reply")


def _refusal(*, status: int, code: str, retry_after: timedelta | None) -> ProviderReply:
    # Without a body of Twilio's the SDK repeats the status as the code.
    known = code if code.isascii() and code.isdigit() and len(code) == 5 else f"http_{status}"
    kind = _kind(status=status, code=known)
    return ProviderReply(
        kind=kind,
        code=known,
        retry_after=retry_after if kind is ReplyKind.THROTTLED else None,
        suppresses=known == OPTED_OUT,
    )


def _kind(*, status: int, code: str) -> ReplyKind:
    if status >= 500 or status < 400 or status in _UNSURE_STATUSES or code in _UNSURE_CODES:
        return ReplyKind.UNKNOWN
    if code in _BLOCKS:
        return ReplyKind.ACCOUNT_BLOCKED
    if status == 429 or code in _THROTTLES:
        return ReplyKind.THROTTLED
    if status in (401, 403) and not code.startswith(_OF_THE_MESSAGE):
        return ReplyKind.DENIED
    return ReplyKind.REJECTED
