"""What a marketing message carries so that its reader can leave: two headers (RFC 2369, RFC 8058) and two URLs."""

from dataclasses import dataclass
from uuid import UUID

from waypost.messaging.link_tokens import LinkSigner, preferences_url, unsubscribe_url
from waypost.messaging.values import Channel

_ONE_CLICK = ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")


@dataclass(frozen=True, slots=True)
class Links:
    """`headers` go beside the message's own (only an email has any); the URLs are template variables."""

    headers: tuple[tuple[str, str], ...]
    unsubscribe_url: str
    preferences_url: str


def unsubscribe_links(
    signer: LinkSigner,
    base_url: str,
    *,
    tenant: UUID,
    contact: UUID,
    topic: UUID | None,
    message: UUID,
    channel: Channel = Channel.EMAIL,
) -> Links:
    """The links of one recipient. `base_url` is WAYPOST_PUBLIC_URL: without https mailboxes offer no one-click."""
    leave = unsubscribe_url(
        base_url,
        signer.unsubscribe_token(tenant=tenant, contact=contact, topic=topic, message=message, channel=channel),
    )
    choose = preferences_url(
        base_url, signer.preferences_token(tenant=tenant, contact=contact, message=message, channel=channel)
    )
    headers = (("List-Unsubscribe", f"<{leave}>"), _ONE_CLICK) if channel is Channel.EMAIL else ()
    return Links(headers, leave, choose)
