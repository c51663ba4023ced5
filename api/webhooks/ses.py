"""POST /webhooks/{account}/ses: SNS over HTTPS. Verify, store, then answer."""

import logging
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from api.webhooks.answers import RefusalError, path_id, read_body
from api.webhooks.services import WebhookServices
from waypost.messaging.provider import ProviderAccount
from waypost.messaging.values import ProviderKind
from waypost.providers.errors import EventError, SignatureError, TrustUnavailableError
from waypost.providers.ses.certificates import fetch_trusted
from waypost.providers.ses.events import parse_ses_event
from waypost.providers.ses.sns import SnsEnvelope, SnsType, parse_envelope

logger = logging.getLogger(__name__)


async def ses_event(request: Request) -> Response:
    """One SNS message: a notification is kept, a subscription confirmed; 200 only when that is done."""
    services: WebhookServices = request.app.state.services
    body = await read_body(request)
    account = await services.accounts.get(path_id(request, "account"), ProviderKind.SES)
    envelope = await _verified(services, account, body)
    match envelope.type:
        case SnsType.NOTIFICATION:
            await _keep(services, account, envelope)
        case SnsType.SUBSCRIPTION:
            await _confirm(services, account, envelope)
        case SnsType.UNSUBSCRIPTION:
            logger.warning("topic unsubscribed", extra={"account_id": str(account.id)})
    return Response(status_code=200)


async def _verified(services: WebhookServices, account: ProviderAccount, body: bytes) -> SnsEnvelope:
    verifier = services.verifier(account)
    try:
        envelope = parse_envelope(body)
        await services.in_thread(partial(verifier.verify, envelope))
    except EventError:
        raise RefusalError("malformed_event", "This is not a message as SNS writes it.") from None
    except SignatureError as error:
        services.metrics.unusable.labels(error.code).inc()
        raise RefusalError(
            "untrusted_event", f"SNS did not sign this for the account's topic ({error.code})."
        ) from None
    except TrustUnavailableError:
        raise _unavailable() from None
    return envelope


async def _keep(services: WebhookServices, account: ProviderAccount, envelope: SnsEnvelope) -> None:
    try:
        events = parse_ses_event(envelope.message, event_id=envelope.message_id)
    except EventError as error:
        # It is SES's, and delivering it again would not make it readable.
        await services.intake.keep_unparsable(
            account=account.id, event_id=envelope.message_id, code=error.code, raw=envelope.message
        )
        return
    await services.keep(account.id, [(account.id, event) for event in events], feed="sns")


async def _confirm(services: WebhookServices, account: ProviderAccount, envelope: SnsEnvelope) -> None:
    verifier = services.verifier(account)
    try:
        await services.in_thread(partial(verifier.confirm, envelope, fetch_trusted))
    except SignatureError:
        raise RefusalError("untrusted_event", "SubscribeURL is not of the account's certificate origin.") from None
    except TrustUnavailableError:
        raise _unavailable() from None
    logger.warning("topic subscribed", extra={"account_id": str(account.id)})


def _unavailable() -> RefusalError:
    return RefusalError("trust_unavailable", "SNS's certificate could not be fetched; deliver the event again.")
