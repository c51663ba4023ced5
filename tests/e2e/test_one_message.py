"""One message from the call to its end, through every process of a real stack."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.e2e.conftest import Shop
from waypost.stack.demo_tenant import SENDERS, SES_ACCOUNT, SES_KEY

_numbers = (f"+1415555{number:04d}" for number in itertools.count(1000))


def test_an_email_goes_from_the_call_to_delivered_and_its_story_tells_how(shop: Shop) -> None:
    story = shop.until_delivered(shop.email("ann@example.com"))
    kinds = [entry["kind"] for entry in story["timeline"]]
    assert kinds[0] == "accepted"
    assert set(kinds) == {"accepted", "attempt", "attempt_ended", "event", "outcome"}
    assert [event["kind"] for event in story["events"]] == ["send", "delivery"]
    assert (story["outcome"], story["attempts"], story["attempt_list"][0]["state"]) == ("sent", 1, "accepted")
    assert "ann@" not in str(story["timeline"])


def test_the_inbox_has_what_was_sent(shop: Shop) -> None:
    message = shop.send(
        to={"email": "inbox@example.com"},
        channel="email",
        content={"subject": "Order {{ data.order }}", "html": "<p>{{ data.what }}</p>"},
        data={"order": "A-17", "what": "Tea & <b>"},
    )
    shop.until_closed(message)
    (found,) = shop.control.inbox("inbox@example.com")
    assert found["subject"] == "Order A-17"
    assert "Tea &amp; &lt;b&gt;" in found["html"]


def test_a_text_message_is_delivered(shop: Shop) -> None:
    assert shop.until_delivered(shop.sms(next(_numbers)))["channel"] == "sms"


def test_a_bounce_keeps_the_next_message_from_being_sent(shop: Shop) -> None:
    address = "bounce+once@example.com"
    shop.until(shop.email(address), lambda story: story["bounced"])
    story = shop.until_closed(shop.email(address))
    assert (story["outcome"], story["attempts"]) == ("suppressed", 0)
    assert len(shop.control.inbox(address)) == 1


def test_a_complaint_keeps_the_next_message_from_being_sent(shop: Shop) -> None:
    address = "complaint+once@example.com"
    shop.until(shop.email(address), lambda story: story["complained"])
    assert shop.until_closed(shop.email(address))["outcome"] == "suppressed"


def test_stop_by_sms_keeps_the_next_message_from_being_sent_and_start_lets_it(shop: Shop) -> None:
    number = next(_numbers)
    shop.until_delivered(shop.sms(number))
    _reply(shop, number, "Stop")
    _until_suppressed(shop, number, 1)
    assert shop.until_closed(shop.sms(number))["outcome"] == "suppressed"
    _reply(shop, number, "START")
    _until_suppressed(shop, number, 0)
    shop.until_delivered(shop.sms(number))


def test_the_same_call_with_the_same_key_is_one_message(shop: Shop) -> None:
    first = shop.email("twice@example.com", key="order-1")
    assert shop.email("twice@example.com", key="order-1") == first
    shop.until_delivered(first)
    assert shop.email("twice@example.com", key="order-1") == first
    assert len(shop.control.inbox("twice@example.com")) == 1
    other = shop.api.post(
        "/v1/messages",
        json={"to": {"email": "x@example.com"}, "content": {"subject": "s", "text": "t"}},
        headers={"idempotency-key": "order-1"},
    )
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")


def test_a_message_for_later_can_be_cancelled(shop: Shop) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    message = shop.email("later@example.com", send_at=later)
    assert shop.api.post(f"/v1/messages/{message}/cancel").json()["status"] == "cancelled"
    assert shop.story(message)["outcome"] == "cancelled"
    assert shop.control.inbox("later@example.com") == []


def test_a_fallback_goes_by_sms_where_the_email_is_not_delivered_in_time(shop: Shop) -> None:
    message = _with_fallback(shop, "silent+someone@example.com", next(_numbers), after="PT1S")
    fallback = shop.story(message)["fallback_id"]
    story = shop.until_delivered(fallback)
    assert (story["channel"], story["primary_id"]) == ("sms", message)
    assert shop.story(message)["delivery"] == "none"


def test_the_fallback_of_a_bounced_email_does_not_wait(shop: Shop) -> None:
    messages = [
        _with_fallback(shop, f"{how}+someone@example.com", next(_numbers), after="PT1H")
        for how in ("bounce", "soft-bounce", "reject")
    ]
    for message in messages:
        shop.until_delivered(shop.story(message)["fallback_id"])
    assert [shop.story(message)["bounced"] for message in messages] == [True, True, False]


def test_a_receipt_in_time_makes_the_fallback_unnecessary(shop: Shop) -> None:
    number = next(_numbers)
    message = _with_fallback(shop, "reached@example.com", number, after="PT5S")
    shop.until_delivered(message)
    story = shop.until_closed(shop.story(message)["fallback_id"])
    assert (story["outcome"], story["attempts"]) == ("skipped", 0)
    assert shop.control.inbox(number) == []


def test_a_suspended_tenants_messages_wait_and_go_out_when_it_is_resumed(shop: Shop) -> None:
    shop.admin.post(f"/v1/tenants/{shop.tenant}/suspend").raise_for_status()
    try:
        message = shop.email("patient@example.com")
        time.sleep(0.7)
        assert shop.story(message)["phase"] == "ready"
        assert shop.control.inbox("patient@example.com") == []
    finally:
        shop.admin.post(f"/v1/tenants/{shop.tenant}/resume").raise_for_status()
    assert shop.until_delivered(message)["attempts"] == 1


@pytest.fixture
def fault(shop: Shop) -> Iterator[None]:
    """Whatever fault a test makes ends with it."""
    yield
    shop.control.faults()


def test_an_account_whose_sending_is_paused_holds_its_messages_until_it_is_resumed(shop: Shop, fault: None) -> None:
    shop.control.add_fault(fault="sending_paused", provider="ses", account=SES_KEY)
    messages = [shop.email(f"held-{number}@example.com") for number in range(5)]
    _until_account(shop, "paused")
    time.sleep(0.3)
    assert {shop.story(message)["outcome"] for message in messages} == {None}
    shop.control.faults()
    identity = shop.account(SES_ACCOUNT)["id"]
    shop.admin.post(f"/v1/provider-accounts/{identity}/resume").raise_for_status()
    stories = [shop.until_delivered(message) for message in messages]
    assert [[each["state"] for each in story["attempt_list"]].count("accepted") for story in stories] == [1] * 5


def test_an_answer_that_gets_lost_is_found_by_evidence_and_not_sent_again(shop: Shop, fault: None) -> None:
    shop.control.add_fault(fault="accept_then_reset", match="lost-answer@", count=1)
    story = shop.until_delivered(shop.email("lost-answer@example.com"))
    assert (story["outcome"], story["attempts"]) == ("sent", 1)
    assert len(shop.control.inbox("lost-answer@example.com")) == 1


def test_the_link_to_the_execution_answers_and_the_execution_explains_itself(shop: Shop) -> None:
    story = shop.until_delivered(shop.email("look@example.com"))
    page = story["links"]["execution"]
    assert httpx.get(page, trust_env=False).status_code == 200
    web_ui, _, path = page.partition("/namespaces/")
    shown = httpx.get(f"{web_ui}/api/v1/namespaces/{path}", trust_env=False).raise_for_status().json()
    attributes = shown["workflowExecutionInfo"]["searchAttributes"]["indexedFields"]
    assert {"WaypostTenant", "WaypostKind", "WaypostSource", "WaypostState"} <= attributes.keys()


def _with_fallback(shop: Shop, address: str, number: str, *, after: str) -> str:
    fallback = {"channel": "sms", "after": after, "unless": "delivered", "content": {"body": "Hello by SMS"}}
    return shop.email(address, to={"email": address, "phone": number}, fallback=fallback)


def _reply(shop: Shop, person: str, body: str) -> None:
    shop.control.inbound(person=person, number=str(SENDERS["sms"]["address"]), body=body)


def _until_suppressed(shop: Shop, number: str, wanted: int) -> None:
    deadline = time.monotonic() + 10
    query = {"channel": "sms", "address": number}
    while len(shop.api.get("/v1/suppressions", params=query).json()["data"]) != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _until_account(shop: Shop, state: str) -> None:
    deadline = time.monotonic() + 10
    while shop.account(SES_ACCOUNT)["state"] != state:
        assert time.monotonic() < deadline
        time.sleep(0.05)
