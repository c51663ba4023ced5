from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from timeit import repeat
from urllib.parse import urlsplit
from uuid import UUID

import pytest

from waypost.messaging.headers import MAX_HEADER_VALUE
from waypost.messaging.link_tokens import LinkAction, LinkGrant, LinkSigner, preferences_url, unsubscribe_url
from waypost.messaging.unsubscribe_links import unsubscribe_links
from waypost.messaging.values import Channel

TENANT, CONTACT, TOPIC, MESSAGE = (UUID(int=number) for number in (1, 2, 3, 4))
SIGNER = LinkSigner("a secret key of at least thirty-two characters")


def _token() -> str:
    return SIGNER.unsubscribe_token(tenant=TENANT, contact=CONTACT, topic=TOPIC, message=MESSAGE)


@pytest.mark.parametrize("channel", list(Channel))
@pytest.mark.parametrize("topic", [TOPIC, None])
@pytest.mark.parametrize("message", [MESSAGE, None])
@pytest.mark.parametrize("contact", [CONTACT, None])
def test_a_token_says_what_was_signed(
    channel: Channel, topic: UUID | None, message: UUID | None, contact: UUID | None
) -> None:
    token = SIGNER.unsubscribe_token(tenant=TENANT, contact=contact, topic=topic, message=message, channel=channel)
    assert SIGNER.read(token, LinkAction.UNSUBSCRIBE) == LinkGrant(
        action=LinkAction.UNSUBSCRIBE, tenant=TENANT, channel=channel, contact=contact, topic=topic, message=message
    )


def test_a_token_is_good_for_its_own_action_alone() -> None:
    tokens = {
        LinkAction.UNSUBSCRIBE: _token(),
        LinkAction.PREFERENCES: SIGNER.preferences_token(tenant=TENANT, contact=CONTACT, message=MESSAGE),
        LinkAction.CONFIRM: SIGNER.confirm_token(tenant=TENANT, contact=CONTACT, topic=TOPIC, message=MESSAGE),
    }
    for made_for, token in tokens.items():
        assert [action for action in LinkAction if SIGNER.read(token, action)] == [made_for]


def test_no_bit_of_a_token_can_be_changed() -> None:
    raw = urlsafe_b64decode(_token() + "==")
    for place in range(len(raw) * 8):
        changed = bytearray(raw)
        changed[place // 8] ^= 1 << place % 8
        assert SIGNER.read(urlsafe_b64encode(changed).rstrip(b"=").decode(), LinkAction.UNSUBSCRIBE) is None


@pytest.mark.parametrize(
    "text", ["", "x", "preview", "ä" * 20, "A" * 110, "A" * 100_000, _token() + "=", _token() + "A", _token()[:-1]]
)
def test_what_is_no_token_is_refused_without_a_fuss(text: str) -> None:
    assert SIGNER.read(text, LinkAction.UNSUBSCRIBE) is None


def test_a_token_has_one_spelling() -> None:
    token = SIGNER.preferences_token(tenant=TENANT, contact=CONTACT)
    others = {token[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"} - {
        token
    }
    assert [other for other in others if SIGNER.read(other, LinkAction.PREFERENCES)] == []


def test_links_signed_with_an_earlier_secret_still_work_and_new_ones_are_signed_with_the_newest() -> None:
    renewed = LinkSigner(
        "another secret key, just as long as the first", ["a secret key of at least thirty-two characters"]
    )
    assert renewed.read(_token(), LinkAction.UNSUBSCRIBE) is not None
    fresh = renewed.unsubscribe_token(tenant=TENANT, contact=CONTACT)
    assert SIGNER.read(fresh, LinkAction.UNSUBSCRIBE) is None


def test_a_token_of_an_earlier_release_still_reads() -> None:
    """Frozen: mails that are out there hold such tokens for years."""
    frozen = "AWAAAAAAAAAAAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAwAAAAAAAAAAAAAAAAAAAASUZLj6h25EwkbRf9DVOF6v"
    token = SIGNER.unsubscribe_token(tenant=TENANT, contact=None, topic=TOPIC, message=MESSAGE)
    assert token == frozen


def test_a_recipient_gets_the_headers_of_one_click_and_two_urls() -> None:
    links = unsubscribe_links(
        SIGNER, "https://mail.acme.example/", tenant=TENANT, contact=CONTACT, topic=TOPIC, message=MESSAGE
    )
    assert links.headers == (
        ("List-Unsubscribe", f"<{links.unsubscribe_url}>"),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    )
    assert len(links.headers[0][1]) < MAX_HEADER_VALUE
    assert links.unsubscribe_url == unsubscribe_url("https://mail.acme.example", _token())
    grant = SIGNER.read(links.preferences_url.rpartition("/")[2], LinkAction.PREFERENCES)
    assert grant is not None
    assert (grant.contact, grant.message) == (CONTACT, MESSAGE)
    assert urlsplit(preferences_url("https://mail.acme.example", "x")).path == "/p/x"


def test_a_text_message_has_urls_and_no_headers() -> None:
    links = unsubscribe_links(
        SIGNER, "https://a.example", tenant=TENANT, contact=CONTACT, topic=None, message=MESSAGE, channel=Channel.SMS
    )
    assert links.headers == ()
    assert links.unsubscribe_url


def test_a_token_costs_microseconds() -> None:
    best = min(repeat(_token, number=2_000, repeat=5)) / 2_000
    assert best < 30e-6, f"{best * 1e6:.1f} µs: a campaign makes two for each recipient"
