"""Ids: the same uniqueness key gives the same id for ever, and no two keys share one."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging import ids
from waypost.messaging.values import Channel, Part

TENANT = UUID("11111111-1111-4111-8111-111111111111")
OTHER = UUID("22222222-2222-4222-8222-222222222222")

_text = st.text(max_size=20)

FROZEN = {
    "contact": "10a6cdf8-1a3f-546e-b7c5-469345661982",
    "template": "9e018865-d3e9-5150-b05c-59777bc49e54",
    "sender": "5c39f292-3da9-5a9c-8947-b64958830895",
    "suppression": "b9dabf72-470b-5ff0-b227-9bc9a7f5502b",
    "request": "b3ab7fdd-902e-5988-b902-603eeabb3b19",
    "message": "205223fa-af02-58a7-aff0-45a22e0fe1d7",
    "attempt": "278de6a3-83b2-5459-bf7b-81c4b02833b4",
}


def test_ids_are_what_they_were_in_every_release() -> None:
    """Rows and executions are known by these: a change here would send accepted messages a second time."""
    message = ids.message_id(tenant=TENANT, source_id=OTHER, part=Part.PRIMARY)
    assert {
        "contact": str(ids.contact_id(tenant=TENANT, external_id="u-1")),
        "template": str(ids.template_id(tenant=TENANT, key="receipt")),
        "sender": str(ids.sender_id(tenant=TENANT, key="default")),
        "suppression": str(ids.suppression_id(tenant=TENANT, channel=Channel.EMAIL, address="a@example.com")),
        "request": str(ids.request_id(tenant=TENANT, idempotency_key="key", generation=0)),
        "message": str(message),
        "attempt": str(ids.attempt_id(message=message, number=1)),
    } == FROZEN


@given(_text, _text)
def test_two_external_ids_never_share_an_id(one: str, other: str) -> None:
    same = ids.contact_id(tenant=TENANT, external_id=one) == ids.contact_id(tenant=TENANT, external_id=other)
    assert same == (one == other)


@given(_text)
def test_tenants_and_kinds_never_share_an_id(key: str) -> None:
    made = {
        ids.contact_id(tenant=TENANT, external_id=key),
        ids.contact_id(tenant=OTHER, external_id=key),
        ids.template_id(tenant=TENANT, key=key),
        ids.sender_id(tenant=TENANT, key=key),
        ids.request_id(tenant=TENANT, idempotency_key=key, generation=0),
        ids.request_id(tenant=TENANT, idempotency_key=key, generation=1),
    }
    assert len(made) == 6


@given(st.tuples(_text, _text), st.tuples(_text, _text))
def test_the_border_between_two_parts_counts(one: tuple[str, str], other: tuple[str, str]) -> None:
    def derived(parts: tuple[str, str]) -> UUID:
        return ids._derive(TENANT, *parts)

    assert (derived(one) == derived(other)) == (one == other)


def test_a_generation_and_a_key_that_look_alike_are_told_apart() -> None:
    assert ids.request_id(tenant=TENANT, idempotency_key="1", generation=11) != ids.request_id(
        tenant=TENANT, idempotency_key="11", generation=1
    )


def test_parts_and_attempt_numbers_make_ids_of_their_own() -> None:
    primary = ids.message_id(tenant=TENANT, source_id=OTHER, part=Part.PRIMARY)
    fallback = ids.message_id(tenant=TENANT, source_id=OTHER, part=Part.FALLBACK)
    attempts = {ids.attempt_id(message=message, number=n) for message in (primary, fallback) for n in range(1, 6)}
    assert primary != fallback
    assert len(attempts) == 10
