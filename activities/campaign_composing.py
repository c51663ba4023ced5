"""From a recipient to what a provider is handed: the variant's template, compiled once a version, and its links."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from activities.campaign_facts import RunRules
from activities.composing import Composer, hash_of
from waypost.campaigns.frozen import FrozenContent
from waypost.messaging.link_tokens import LinkSigner
from waypost.messaging.provider import RenderedMessage, SlottedContent
from waypost.messaging.rendering import choose_locale, render, template_context
from waypost.messaging.slotted import SlottedTemplate
from waypost.messaging.templating import CompiledTemplate
from waypost.messaging.unsubscribe_links import Links, unsubscribe_links
from waypost.messaging.values import Channel
from waypost.messaging.zones import find_zone, known_zone
from waypost.store.campaign_pages import Ask, Recipient

_SLOTTED_KEPT = 500


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipient with what the claim writes and what the provider is handed."""

    recipient: Recipient
    ask: Ask
    rendered: RenderedMessage
    claimed_at: datetime | None = None
    """By the database's clock, once it is."""

    def at(self, moment: datetime) -> "Prepared":
        """The same once it is claimed. Not replace(), which takes five times as long."""
        return Prepared(self.recipient, self.ask, self.rendered, moment)


class CampaignComposer:
    """Renders recipients of campaigns. Templates are compiled by the composer of messages, which keeps them."""

    def __init__(self, composer: Composer, signer: LinkSigner, public_url: str) -> None:
        self._composer = composer
        self._signer = signer
        self._public_url = public_url
        self._slotted: dict[tuple[UUID, int, str], SlottedTemplate] = {}

    async def prepare(self, rules: RunRules, recipient: Recipient) -> Prepared:
        """Render one recipient. Raises one of composing.UNRENDERABLE when it never can be."""
        run = rules.run
        variant = recipient.variant if recipient.variant >= 0 else (run.winner or 0)
        content = rules.frozen.contents[variant]
        template = await self._composer.version(run.tenant_id, content.template_id, content.template_version)
        links = self._links(rules, recipient)
        said = self._say(template, recipient.locale, _context(rules, recipient, links), content)
        ask = Ask(
            message=recipient.id,
            number=recipient.attempts + 1,
            content_hash=_hash(recipient.address, said),
            variant=variant,
            template_id=content.template_id,
            template_version=content.template_version,
        )
        return Prepared(recipient, ask, _rendered(rules, recipient, links, ask, said))

    def _say(
        self, template: CompiledTemplate, locale: str | None, context: dict[str, Any], content: FrozenContent
    ) -> SlottedContent | str:
        """What the message says: an email in slots, for its static text goes once, any other as its text."""
        if template.channel is not Channel.EMAIL:
            return render(template, locale, context).text
        key = (content.template_id, content.template_version, choose_locale(template, locale))
        if key not in self._slotted:
            if len(self._slotted) >= _SLOTTED_KEPT:
                self._slotted.clear()
            self._slotted[key] = SlottedTemplate.of(template, locale)
        return self._slotted[key].render(context)

    def _links(self, rules: RunRules, recipient: Recipient) -> Links:
        run = rules.run
        return unsubscribe_links(
            self._signer,
            self._public_url,
            tenant=run.tenant_id,
            contact=recipient.contact_id,
            topic=run.topic_id,
            message=recipient.id,
            channel=rules.channel,
        )


def _context(rules: RunRules, recipient: Recipient, links: Links) -> dict[str, Any]:
    run = rules.run
    zone: ZoneInfo = find_zone(known_zone(recipient.time_zone, run.tenant_time_zone))
    return template_context(
        contact={
            "external_id": recipient.external_id,
            "email": recipient.email,
            "phone": recipient.phone,
            "locale": recipient.locale,
            "time_zone": recipient.time_zone,
            "attributes": recipient.attributes or {},
        },
        data=rules.frozen.definition.data,
        tenant={"name": run.tenant_name},
        message={"id": str(recipient.id), "channel": run.channel},
        now=run.now.astimezone(zone),
        unsubscribe_url=links.unsubscribe_url,
        preferences_url=links.preferences_url,
    )


def _hash(address: str, said: SlottedContent | str) -> bytes:
    """Address and content: the same for a second try of the same message."""
    if isinstance(said, str):
        return hash_of(address, "", "", said)
    values = (text for pair in sorted(said.slots.items()) for text in pair)
    return hashlib.sha256("\x00".join((address, *values)).encode()).digest()


def _rendered(
    rules: RunRules, recipient: Recipient, links: Links, ask: Ask, said: SlottedContent | str
) -> RenderedMessage:
    run = rules.run
    slotted = None if isinstance(said, str) else said
    return RenderedMessage(
        attempt_id=ask.attempt,
        channel=rules.channel,
        to=recipient.address,
        from_address=run.from_address,
        from_name=run.from_name,
        reply_to=(run.sender_reply_to,) if run.sender_reply_to else (),
        headers=links.headers,
        configuration_set=run.configuration_set,
        messaging_service=run.messaging_service,
        valid_for=recipient.expires_at - run.now,
        text=said if isinstance(said, str) else "",
        slotted=slotted,
    )
