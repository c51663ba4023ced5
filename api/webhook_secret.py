"""`/v1/webhook-secret`: what the posts of webhook steps are signed with. docs/journeys.md says how they are checked."""

from typing import Annotated

from pydantic import Field

from api.dependencies import Caller, Scope, needs
from api.fields import Shown
from api.routes import guarded_router
from api.services import WithServices
from waypost.messaging.webhooks import signing_secret, written_secret

router = guarded_router("journeys")


class WebhookSecretShown(Shown):
    """As libraries for Standard Webhooks take it."""

    secret: Annotated[str, Field(description="`whsec_` and base64; another one after a change of WAYPOST_SECRET_KEY")]


@router.get("/v1/webhook-secret")
async def read_webhook_secret(
    caller: Annotated[Caller, needs(Scope.JOURNEYS_READ)], services: WithServices
) -> WebhookSecretShown:
    """The tenant's own secret, by which it knows that a post is from here."""
    key = services.settings.secrets.secret_key.get_secret_value()
    return WebhookSecretShown(secret=written_secret(signing_secret(key, caller.tenant_id)))
