"""From an account's row to its adapters; and which origins an account may name."""

import re
from typing import assert_never

from waypost.messaging.provider import LookUp, ProviderAccount, Sender
from waypost.messaging.values import Mode, ProviderKind
from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import AccountUnusableError, EndpointRefusedError
from waypost.providers.ses.sender import SesSender
from waypost.providers.twilio.look_up import TwilioLookUp
from waypost.providers.twilio.sender import TwilioSender
from waypost.providers.wire import Origin

_AWS = r"\.amazonaws\.com(\.cn)?"
_SES_HOST = re.compile(rf"email(-fips)?\.[a-z0-9-]+{_AWS}|vpce-[a-z0-9-]+\.email\.[a-z0-9-]+\.vpce{_AWS}")
_SNS_HOST = re.compile(rf"sns\.[a-z0-9-]+{_AWS}")
_SQS_HOST = re.compile(rf"sqs(-fips)?\.[a-z0-9-]+{_AWS}|vpce-[a-z0-9-]+\.sqs\.[a-z0-9-]+\.vpce{_AWS}")
_TWILIO_HOST = re.compile(r"api(\.[a-z0-9-]+){0,2}\.twilio\.com")
"""Whole host names, service by service: `*.amazonaws.com` alone would let in any customer's bucket or machine."""

_REGION = re.compile(r"[a-z0-9-]{1,32}")


def open_sender(account: ProviderAccount, deadlines: Deadlines) -> Sender:
    """The account's sender, its origins checked again. Making one costs tens of milliseconds: keep it.

    Raises `EndpointRefusedError`, `AccountUnusableError`.
    """
    check_account(account)
    match account.kind:
        case ProviderKind.SES:
            return SesSender(account, deadlines)
        case ProviderKind.TWILIO:
            return TwilioSender(account, deadlines)
        case _:
            assert_never(account.kind)


def open_look_up(account: ProviderAccount, deadlines: Deadlines) -> LookUp:
    """The account's look-up. Raises `AccountUnusableError` for SES, which has none, and `EndpointRefusedError`."""
    check_account(account)
    match account.kind:
        case ProviderKind.TWILIO:
            return TwilioLookUp(account, deadlines)
        case ProviderKind.SES:
            raise AccountUnusableError("no_look_up")
        case _:
            assert_never(account.kind)


def check_account(account: ProviderAccount) -> None:
    """`check_endpoint` for a whole account."""
    check_endpoint(
        kind=account.kind,
        mode=account.mode,
        region=account.region,
        endpoint=account.endpoint,
        certificate_origin=account.certificate_origin,
        queue_url=account.queue_url,
    )


def check_endpoint(
    *,
    kind: ProviderKind,
    mode: Mode,
    region: str,
    endpoint: str | None,
    certificate_origin: str | None = None,
    queue_url: str | None = None,
) -> None:
    """Raise `EndpointRefusedError` (code, field) where a live account names any origin that is not its provider's own.

    A test account may name any http(s) origin, and must name one: without it its messages would reach real people.
    """
    if kind is ProviderKind.SES and not _REGION.fullmatch(region):
        raise EndpointRefusedError("region_malformed", field="region")
    if mode is Mode.TEST and endpoint is None:
        raise EndpointRefusedError("test_account_needs_endpoint", field="endpoint")
    own = _SES_HOST if kind is ProviderKind.SES else _TWILIO_HOST
    _check(endpoint, own, mode=mode, field="endpoint", bare=True)
    _check(certificate_origin, _SNS_HOST, mode=mode, field="certificate_origin", bare=True)
    _check(queue_url, _SQS_HOST, mode=mode, field="queue_url", bare=False)


def _check(url: str | None, own: re.Pattern[str], *, mode: Mode, field: str, bare: bool) -> None:
    """One URL. `bare`: scheme, host and port only."""
    if url is None:
        return
    try:
        origin = Origin.of(url)
    except ValueError:
        raise EndpointRefusedError("endpoint_malformed", field=field) from None
    if any(char in url for char in "@\\?# \t\r\n") or (bare and url.rstrip("/").count("/") > 2):
        raise EndpointRefusedError("endpoint_malformed", field=field)
    if mode is Mode.LIVE and not (origin.scheme == "https" and origin.port == 443 and own.fullmatch(origin.host)):
        raise EndpointRefusedError("endpoint_not_the_providers", field=field)
