"""POST /webhooks/{account}/twilio/status/{attempt} and …/inbound. Verify, store, then answer."""

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from api.webhooks.answers import RefusalError, path_id, read_form
from api.webhooks.services import WebhookServices
from waypost.messaging.keywords import keyword
from waypost.messaging.provider import ProviderAccount
from waypost.messaging.values import ProviderKind
from waypost.providers.errors import EventError, SignatureError
from waypost.providers.twilio.callbacks import inbound_url, status_url
from waypost.providers.twilio.events import InboundMessage, parse_inbound, parse_status
from waypost.providers.twilio.signature import verify_signature
from waypost.store.inbound import Inbound, keep_inbound

_NO_REPLY = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""TwiML that says nothing: Twilio itself answers STOP, START and HELP."""


async def twilio_status(request: Request) -> Response:
    """One status of one message; 204 once it is kept."""
    services: WebhookServices = request.app.state.services
    fields = await read_form(request)
    account = await services.accounts.get(path_id(request, "account"), ProviderKind.TWILIO)
    attempt = path_id(request, "attempt")
    url = status_url(_callback_base(account), account_id=account.id, attempt_id=attempt)
    _verify(services, account, request, fields=fields, url=url)
    try:
        events = parse_status(dict(fields), attempt_id=attempt, received_at=datetime.now(UTC))
    except EventError:
        raise _malformed() from None
    await services.keep(account.id, [(account.id, event) for event in events], feed="twilio")
    return Response(status_code=204)


async def twilio_inbound(request: Request) -> Response:
    """One text that a person wrote; kept once, its keyword obeyed."""
    services: WebhookServices = request.app.state.services
    fields = await read_form(request)
    account = await services.accounts.get(path_id(request, "account"), ProviderKind.TWILIO)
    url = inbound_url(_callback_base(account), account_id=account.id)
    _verify(services, account, request, fields=fields, url=url)
    try:
        message = parse_inbound(dict(fields))
    except EventError:
        raise _malformed() from None
    service = dict(fields).get("MessagingServiceSid") or None
    async with services.database.transaction() as connection:
        await keep_inbound(connection, _as_inbound(account, message, service))
    services.metrics.received.labels("inbound").inc()
    return Response(_NO_REPLY, media_type="text/xml")


def _as_inbound(account: ProviderAccount, message: InboundMessage, service: str | None) -> Inbound:
    return Inbound(
        account_id=account.id,
        provider_message_id=message.sid,
        channel=message.channel,
        from_address=message.from_number,
        to_address=message.to_number,
        messaging_service=service,
        keyword=keyword(message.body, message.opt_out_type),
        body=message.body,
    )


def _callback_base(account: ProviderAccount) -> str:
    if not account.callback_base:
        raise RefusalError("no_event_trust", "Set the account's callback_base to the public URL of ingest.")
    return account.callback_base


def _verify(
    services: WebhookServices,
    account: ProviderAccount,
    request: Request,
    *,
    fields: Sequence[tuple[str, str]],
    url: str,
) -> None:
    """Raises `RefusalError` where Twilio did not sign these fields for this URL."""
    try:
        verify_signature(
            auth_token=account.credentials.secret,
            url=url,
            params=fields,
            signature=request.headers.get("x-twilio-signature", ""),
        )
    except SignatureError as error:
        services.metrics.unusable.labels(error.code).inc()
        raise RefusalError("untrusted_event", "X-Twilio-Signature does not fit this URL and these fields.") from None


def _malformed() -> RefusalError:
    return RefusalError("malformed_event", "These are not the fields that Twilio sends.")
