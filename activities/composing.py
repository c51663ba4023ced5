"""From a loaded message to what a provider is handed: template or inline content, rendered for its contact."""

import hashlib
from collections import OrderedDict
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from waypost.messaging.content import Content, TemplateContent, one_locale
from waypost.messaging.content_errors import ContentError
from waypost.messaging.link_tokens import LinkSigner
from waypost.messaging.payload import MessagePayload
from waypost.messaging.provider import Attachment, RenderedMessage
from waypost.messaging.rendering import RenderedContent, render, template_context
from waypost.messaging.templating import CompiledTemplate, TemplateCache, compile_template
from waypost.messaging.unsubscribe_links import Links, unsubscribe_links
from waypost.messaging.values import Channel, MessageClass
from waypost.messaging.zones import find_zone, known_zone
from waypost.store.database import Database
from waypost.store.send import LoadedMessage, load, template_content

_TEMPLATES_KEPT = 500
UNRENDERABLE = (ContentError, LookupError, ValueError)
"""What `compose` raises where trying again would end the same: content that cannot be rendered, a template's version
that is not there, a row that cannot be read (pydantic's ValidationError is a ValueError). A database that is away is
none of these."""

_TEMPLATE: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)
_INLINE: TypeAdapter[Content] = TypeAdapter(Content)


class Composer:
    """Renders messages; keeps the compiled versions of the templates used last.

    `public_url` is WAYPOST_PUBLIC_URL, where the links of a journey's marketing lead.
    """

    def __init__(self, database: Database, signer: LinkSigner, public_url: str) -> None:
        self._database = database
        self._signer = signer
        self._public_url = public_url
        self._inline = TemplateCache()
        self._compiled: OrderedDict[tuple[UUID, int], CompiledTemplate] = OrderedDict()

    async def compose(self, message: LoadedMessage, attempt: UUID) -> RenderedMessage:
        """The message as attempt `attempt` would hand it over. Raises one of UNRENDERABLE when it never can."""
        payload = MessagePayload.model_validate(message.payload or {})
        template = await self._template(message, payload)
        links = self._links(message)
        content = render(template, payload.locale or message.contact_locale, _context(message, payload, links))
        return _rendered(message, payload, content, links, attempt)

    async def again(self, tenant: UUID, message: UUID, attempt: UUID) -> RenderedMessage | None:
        """The message as an earlier attempt handed it over, for a look-up; None where it cannot be had any more."""
        async with self._database.transaction(tenant) as connection:
            loaded = await load(connection, tenant=tenant, message=message)
        try:
            return await self.compose(loaded, attempt) if loaded else None
        except UNRENDERABLE:
            return None

    def _links(self, message: LoadedMessage) -> Links | None:
        if message.enrollment_id is None or message.contact_id is None or message.class_ != MessageClass.MARKETING:
            return None
        return unsubscribe_links(
            self._signer,
            self._public_url,
            tenant=message.tenant_id,
            contact=message.contact_id,
            topic=message.topic_id,
            message=message.id,
            channel=Channel(message.channel),
        )

    async def _template(self, message: LoadedMessage, payload: MessagePayload) -> CompiledTemplate:
        if message.template_id is None or message.template_version is None:
            return self._inline.get(one_locale(_INLINE.validate_python(payload.content)))
        return await self.version(message.tenant_id, message.template_id, message.template_version)

    async def version(self, tenant: UUID, template: UUID, version: int) -> CompiledTemplate:
        """A template's version, compiled and kept. Raises LookupError where there is none."""
        key = (template, version)
        if key not in self._compiled:
            self._keep(key, await self._load(tenant, *key))
        self._compiled.move_to_end(key)
        return self._compiled[key]

    async def _load(self, tenant: UUID, template: UUID, version: int) -> CompiledTemplate:
        async with self._database.transaction(tenant) as connection:
            content = await template_content(connection, tenant=tenant, template=template, version=version)
        return compile_template(_TEMPLATE.validate_python(content))

    def _keep(self, key: tuple[UUID, int], compiled: CompiledTemplate) -> None:
        self._compiled[key] = compiled
        if len(self._compiled) > _TEMPLATES_KEPT:
            self._compiled.popitem(last=False)


def content_hash(message: RenderedMessage) -> bytes:
    """SHA-256 over address and content: the same for a second try of the same message."""
    return hash_of(message.to, message.subject, message.html or "", message.text)


def hash_of(to: str, subject: str, html: str, text: str) -> bytes:
    """`content_hash` of what is not put together yet. A look-up at the provider makes the same of what it finds."""
    return hashlib.sha256("\x00".join((to, subject, html, text)).encode()).digest()


def _context(message: LoadedMessage, payload: MessagePayload, links: Links | None) -> dict[str, Any]:
    journey = message.journey
    default = (journey.own_zone or journey.tenant_zone) if journey else "UTC"
    now = message.now.astimezone(find_zone(known_zone(message.contact_time_zone, default)))
    return template_context(
        contact={
            "external_id": message.contact_external_id,
            "email": message.contact_email,
            "phone": message.contact_phone,
            "locale": message.contact_locale,
            "time_zone": message.contact_time_zone,
            "attributes": message.contact_attributes or {},
        },
        data=payload.data,
        tenant={"name": message.tenant_name},
        message={"id": str(message.id), "channel": message.channel},
        now=now,
        unsubscribe_url=links.unsubscribe_url if links else None,
        preferences_url=links.preferences_url if links else None,
    )


def _rendered(
    message: LoadedMessage, payload: MessagePayload, content: RenderedContent, links: Links | None, attempt: UUID
) -> RenderedMessage:
    reply_to = payload.reply_to or ((message.sender_reply_to,) if message.sender_reply_to else ())
    return RenderedMessage(
        attempt_id=attempt,
        channel=Channel(message.channel),
        to=message.address,
        from_address=message.from_address,
        from_name=message.from_name,
        reply_to=reply_to,
        subject=content.subject,
        html=content.html,
        text=content.text,
        headers=(*payload.headers, *(links.headers if links else ())),
        attachments=tuple(
            Attachment(filename=file.filename, media_type=file.media_type, content=file.data)
            for file in payload.attachments
        ),
        configuration_set=message.configuration_set,
        messaging_service=message.messaging_service,
        valid_for=message.expires_at - message.now,
    )
