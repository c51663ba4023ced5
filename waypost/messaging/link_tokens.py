"""Signed links for people: who may unsubscribe, choose or confirm is told by the token alone, for years.

A token is base64url of `version, form, tenant, [contact], [topic], [message], MAC`: ids of ours, never an address, 111
characters at most. The MAC is HMAC-SHA256, cut to 128 bits, under a key derived from WAYPOST_SECRET_KEY for this
purpose. Links are in mails that stay in mailboxes: keys of earlier secrets (WAYPOST_PREVIOUS_SECRET_KEYS) still verify.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest, digest
from uuid import UUID

from waypost.messaging.values import Channel

_VERSION = 1
_PURPOSE = b"waypost/links/1"
_MAC_BYTES = 16
_HEAD_BYTES = 2
_LONGEST = 120
"""No token of ours is longer; what is, is not even decoded."""


class LinkAction(StrEnum):
    """What a link lets its holder do."""

    UNSUBSCRIBE = "unsubscribe"
    PREFERENCES = "preferences"
    CONFIRM = "confirm"


_ACTIONS = tuple(LinkAction)
_CHANNELS = (Channel.EMAIL, Channel.SMS, Channel.WHATSAPP)
# Both orders are part of the format: append, never reorder.
_ACTION_BITS = {action: place for place, action in enumerate(_ACTIONS)}
_CHANNEL_BITS = {channel: place << 2 for place, channel in enumerate(_CHANNELS)}
_CONTACT, _TOPIC, _MESSAGE = 1 << 4, 1 << 5, 1 << 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkGrant:
    """What a token says: whose link it is. Without `topic`: all marketing on the channel."""

    action: LinkAction
    tenant: UUID
    channel: Channel = Channel.EMAIL
    contact: UUID | None = None
    topic: UUID | None = None
    message: UUID | None = None


class LinkSigner:
    """Makes and reads tokens; the keys are derived once. A token takes some 3 µs to make."""

    def __init__(self, secret: str, previous: Sequence[str] = ()) -> None:
        self._key = _derive(secret)
        self._keys = (self._key, *(_derive(one) for one in previous))

    def unsubscribe_token(
        self,
        *,
        tenant: UUID,
        contact: UUID | None,
        topic: UUID | None = None,
        message: UUID | None = None,
        channel: Channel = Channel.EMAIL,
    ) -> str:
        """For `/u/…`: leave `topic`, or all marketing on the channel. `message` is counted as unsubscribed from."""
        return self._sign(LinkAction.UNSUBSCRIBE, channel, tenant, contact, topic, message)

    def preferences_token(
        self, *, tenant: UUID, contact: UUID, message: UUID | None = None, channel: Channel = Channel.EMAIL
    ) -> str:
        """For `/p/…`: see and choose the topics of a contact."""
        return self._sign(LinkAction.PREFERENCES, channel, tenant, contact, None, message)

    def confirm_token(
        self, *, tenant: UUID, contact: UUID, topic: UUID, message: UUID, channel: Channel = Channel.EMAIL
    ) -> str:
        """For `/c/…`: confirm a subscription that waits. `message` is the one that carries the link."""
        return self._sign(LinkAction.CONFIRM, channel, tenant, contact, topic, message)

    def read(self, token: str, action: LinkAction) -> LinkGrant | None:
        """What a token grants; None where it is not ours, was tampered with, or is for another action."""
        raw = _decode(token)
        if raw is None or raw[0] != _VERSION:
            return None
        said, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        # Every key is tried, so that time tells nothing of which one it was.
        good = [compare_digest(digest(key, said, "sha256")[:_MAC_BYTES], mac) for key in self._keys]
        grant = _grant(said) if any(good) else None
        return grant if grant is not None and grant.action is action else None

    def _sign(
        self,
        action: LinkAction,
        channel: Channel,
        tenant: UUID,
        contact: UUID | None,
        topic: UUID | None,
        message: UUID | None,
    ) -> str:
        form = _ACTION_BITS[action] | _CHANNEL_BITS[channel]
        said = tenant.bytes
        if contact is not None:
            form, said = form | _CONTACT, said + contact.bytes
        if topic is not None:
            form, said = form | _TOPIC, said + topic.bytes
        if message is not None:
            form, said = form | _MESSAGE, said + message.bytes
        said = bytes((_VERSION, form)) + said
        signed = said + digest(self._key, said, "sha256")[:_MAC_BYTES]
        return urlsafe_b64encode(signed).rstrip(b"=").decode("ascii")


def unsubscribe_url(base_url: str, token: str) -> str:
    """The page that an unsubscribe token opens; `base_url` is WAYPOST_PUBLIC_URL."""
    return f"{base_url.rstrip('/')}/u/{token}"


def preferences_url(base_url: str, token: str) -> str:
    """The page that a preferences token opens."""
    return f"{base_url.rstrip('/')}/p/{token}"


def confirm_url(base_url: str, token: str) -> str:
    """The page that a confirm token opens."""
    return f"{base_url.rstrip('/')}/c/{token}"


def _derive(secret: str) -> bytes:
    return digest(secret.encode(), _PURPOSE, "sha256")


def _decode(token: str) -> bytes | None:
    if len(token) > _LONGEST:
        return None
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:  # binascii.Error, and what is not ASCII
        return None
    if len(raw) < _HEAD_BYTES + 16 + _MAC_BYTES or urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != token:
        return None  # one spelling a token
    return raw


def _grant(said: bytes) -> LinkGrant | None:
    form = said[1]
    ids = _ids(said[_HEAD_BYTES:])
    named = [bool(form & bit) for bit in (_CONTACT, _TOPIC, _MESSAGE)]
    if form >> 7 or form & 3 >= len(_ACTIONS) or form >> 2 & 3 >= len(_CHANNELS):
        return None  # signed by a later version of ours
    tenant = next(ids)
    contact, topic, message = (next(ids) if is_named else None for is_named in named)
    return LinkGrant(
        action=_ACTIONS[form & 3],
        channel=_CHANNELS[form >> 2 & 3],
        tenant=tenant,
        contact=contact,
        topic=topic,
        message=message,
    )


def _ids(raw: bytes) -> Iterator[UUID]:
    return (UUID(bytes=raw[at : at + 16]) for at in range(0, len(raw), 16))
