"""SES's ways to say no, in the ledger's words.

Sources: SES v2 API reference "SendEmail" and "Common errors", SigV4 troubleshooting. Only codes leave this module:
SES's texts carry addresses. Two throttling codes mean either "slow down" or "no more today"; only the text tells which.
"""

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from waypost.messaging.provider import ProviderReply, ReplyKind
from waypost.providers.errors import NotSentError, ReplyLostError
from waypost.providers.wire import retry_after

_THROTTLES = frozenset(
    {"TooManyRequestsException", "LimitExceededException", "Throttling", "ThrottlingException", "ThrottledException"}
)
_BLOCKS = frozenset(
    {
        "AccountSuspendedException",
        "AuthFailure",
        "ConfigurationSetSendingPausedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "SendingPausedException",
        "AccountSendingPausedException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_DENIALS = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized"})
"""An IAM policy forbids it: sending at all, or from this one address. The code is the same for both."""

ACCESS_DENIED = "access_denied"

_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    ProfileNotFound,
)
_UNSURE_STATUSES = frozenset({408, 409, 425})
"""4xx that do not say that the request was not acted on."""

UNSENDABLE = ProviderReply(kind=ReplyKind.REJECTED, code="unsendable")
"""What SES has no way to be told: nothing was sent."""

_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")


def classify(failure: Exception, *, reached_wire: bool) -> ProviderReply:
    """What a failed call came to. `reached_wire` False: the request was never handed over, so it was not sent."""
    match failure:
        case NotSentError():
            return ProviderReply(kind=ReplyKind.NOT_REACHED, code=failure.code)
        case ReplyLostError():
            return ProviderReply(kind=ReplyKind.UNKNOWN, code=failure.code)
        case ClientError() if reached_wire:
            return _refusal(failure)
        case _ if reached_wire:
            return ProviderReply(kind=ReplyKind.UNKNOWN, code="unreadable_reply")
        case _:
            return _unsent(failure)


def _unsent(failure: Exception) -> ProviderReply:
    """What fails before the wire: credentials that cannot be had, or content that cannot be written down."""
    if isinstance(failure, _NO_CREDENTIALS):
        return ProviderReply(kind=ReplyKind.ACCOUNT_BLOCKED, code="no_credentials")
    if isinstance(failure, (ConnectTimeoutError, EndpointConnectionError)):
        return ProviderReply(kind=ReplyKind.NOT_REACHED, code="credentials_not_reached")
    if isinstance(failure, (BotoCoreError, ClientError)):  # the role's own STS call, for instance
        return ProviderReply(kind=ReplyKind.NOT_REACHED, code="credentials_failed")
    return UNSENDABLE


def _refusal(failure: ClientError) -> ProviderReply:
    """A complete reply that is not 2xx."""
    metadata = failure.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    code = _safe_code(failure.response.get("Error", {}).get("Code", ""), status)
    if code in _THROTTLES or status == 429:
        return _throttle(code, text=failure.response.get("Error", {}).get("Message", ""), headers=_headers(failure))
    if code in _DENIALS:
        return ProviderReply(kind=ReplyKind.DENIED, code=ACCESS_DENIED)
    return ProviderReply(kind=_kind(code=code, status=status), code=code)


def _kind(*, code: str, status: int) -> ReplyKind:
    if code in _BLOCKS:
        return ReplyKind.ACCOUNT_BLOCKED
    if status in (401, 403):
        return ReplyKind.DENIED
    if 400 <= status < 500 and status not in _UNSURE_STATUSES:
        return ReplyKind.REJECTED
    return ReplyKind.UNKNOWN


def _throttle(code: str, *, text: str, headers: dict[str, str]) -> ProviderReply:
    """ "Maximum sending rate exceeded" passes in a second; "Daily message quota exceeded" does not."""
    if "quota" in text.lower():
        return ProviderReply(kind=ReplyKind.ACCOUNT_BLOCKED, code="daily_quota")
    if code == "LimitExceededException" and "rate" not in text.lower():
        return ProviderReply(kind=ReplyKind.ACCOUNT_BLOCKED, code=code)
    return ProviderReply(kind=ReplyKind.THROTTLED, code=code, retry_after=retry_after(headers))


def _headers(failure: ClientError) -> dict[str, str]:
    headers = failure.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return {name.lower(): value for name, value in headers.items()}


def _safe_code(code: str, status: int) -> str:
    """A provider's code is an identifier; anything else is text and stays here."""
    return code if _CODE.fullmatch(code) and not code.isdigit() else f"http_{status}"
