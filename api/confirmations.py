"""Double opt-in: the message that asks a contact to confirm a subscription, sent like any transactional message."""

from typing import Any
from uuid import UUID

from api.message_intake import Asked
from api.message_models import MessageIn
from api.services import Services
from waypost.messaging import ids
from waypost.messaging.link_tokens import confirm_url
from waypost.messaging.values import Mode, Part
from waypost.store import subscriptions
from waypost.store.subscriptions import TopicWord
from waypost.store.topics import confirmation_template

CONFIRM_URL = "data.confirm_url"
"""The variable that a template of the tenant's own must print."""

TAG = "subscription-confirmation"

_BUILT_IN = {
    "channel": "email",
    "subject": "Please confirm: {{ data.topic.name }}",
    "text": "Hello,\n\nsomebody, we hope you, asked {{ tenant.name }} to send {{ data.topic.name }} to this address."
    "\n\nTo confirm, open this page:\n{{ data.confirm_url }}\n\n"
    "If it was not you, do nothing: nothing will be sent.\n",
    "html": '<div style="font:16px/1.5 system-ui,sans-serif;color:#1a1f24;max-width:560px">'
    "<p>Hello,</p><p>somebody, we hope you, asked {{ tenant.name }} to send <strong>{{ data.topic.name }}</strong>"
    " to this address.</p>"
    '<p><a href="{{ data.confirm_url }}" style="display:inline-block;background:#1f5fbf;color:#ffffff;'
    'text-decoration:none;padding:12px 20px;border-radius:6px">Confirm the subscription</a></p>'
    "<p>If it was not you, do nothing: nothing will be sent.</p></div>",
}


async def ask_to_confirm(services: Services, *, tenant: UUID, mode: Mode, contact: str, word: TopicWord) -> None:
    """Send the confirmation of a pending subscription, where it is due. `contact` is the external id.

    Asked for by two at once it is one message: they have the same idempotency key, made of the time of the one before.
    Raises what a message that is refused raises; then it was not sent, and is due at the next asking.
    """
    if not word.confirm_due:
        return
    contact_id = ids.contact_id(tenant=tenant, external_id=contact)
    before = word.confirm_sent_at.isoformat() if word.confirm_sent_at else "never"
    key = f"waypost/confirm/{mode}/{word.topic_id}/{contact_id}/{before}"
    request = ids.request_id(tenant=tenant, idempotency_key=key, generation=0)
    token = services.links.confirm_token(
        tenant=tenant,
        contact=contact_id,
        topic=word.topic_id,
        message=ids.message_id(tenant=tenant, source_id=request, part=Part.PRIMARY),
    )
    url = confirm_url(services.settings.api.public_url, token)
    async with services.app_db.session(tenant) as session:
        template = await confirmation_template(session, tenant)
    asked = Asked(message=_message(contact, word, url, template), mode=mode, body={"confirm": key}, key=key)
    await services.intake.take_one(tenant, mode, asked)
    async with services.app_db.transaction(tenant) as connection:
        await subscriptions.confirm_sent(
            connection, tenant=tenant, topic=word.topic_id, contact=contact_id, before=word.confirm_sent_at
        )


def _message(contact: str, word: TopicWord, url: str, template: str | None) -> MessageIn:
    content: dict[str, Any] = {"template": {"key": template}} if template else {"content": _BUILT_IN}
    data = {"confirm_url": url, "topic": {"key": word.key, "name": word.name, "description": word.description}}
    return MessageIn.model_validate({"to": {"contact": contact}, "data": data, "tags": [TAG], **content})
