"""Temporal's store, searched for what must never be in it: DESIGN's fifth invariant."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from temporalio.client import Client

from tests.e2e.conftest import Shop
from tests.e2e.journeying import Journeys, has_ended, waits_at
from waypost.stack.running import RunningStack

_A_MESSAGE = {"subject": "{{ data.word }}", "text": "{{ contact.first_name }} {{ data.word }}"}

_JOURNEY = """
journey: {key}
name: <name>
entry: {{kind: event, event: {key}-in, key: order, expects: [order, note]}}
reentry: per_key
exits:
  - {{reason: closed, event: {key}-closed}}
start: mark
steps:
  mark: {{kind: update_contact, set: {{word: <set>}}, next: hello}}
  hello:
    {{kind: send, channel: email, template: e2e-canary, class: transactional, data: {{word: <constant>}}, next: broken}}
  broken: {{kind: send, channel: email, template: e2e-broken, class: transactional, next: say}}
  say: {{kind: emit_event, event: said, properties: {{word: <emitted>}}, next: bought}}
  bought:
    kind: wait_for
    for: {{event: {key}-bought}}
    keep_as: bought
    timeout: {timeout}
    next: which
    on_timeout: end
  which:
    kind: branch
    choices:
      - {{name: same, where: [{{property: bought.item, is: {{op: eq, value: <compared>}}}}], next: text}}
    else: text
  text: {{kind: send, channel: sms, template: e2e-text, class: transactional, next: end}}
"""


class Canaries:
    """Long random words, each for one place."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}

    def __call__(self, place: str) -> str:
        return self.words.setdefault(place, secrets.token_hex(16))


async def test_no_address_name_data_or_provider_error_is_in_temporals_store(shop: Shop, stack: RunningStack) -> None:
    canary = Canaries()
    _put_contact(shop, canary)
    _send_all_ways(shop, canary)
    control = secrets.token_hex(16)
    await _control_execution(stack, control)
    files = [stack.data / "temporal.db", stack.data / "temporal.db-wal"]
    assert _found(files, [control]) == {control}, "the search finds what is there"
    assert _found(files, canary.words.values()) == set(), canary.words
    assert len(canary.words) >= 12


async def test_no_word_of_a_journey_or_of_who_walks_it_is_in_temporals_store(shop: Shop, stack: RunningStack) -> None:
    canary = Canaries()
    walked = _walk(Journeys(shop), canary)
    files = [stack.data / "temporal.db", stack.data / "temporal.db-wal"]
    assert _found(files, [walked]) == {walked}, "the search finds what is there: the enrollment's id"
    assert _found(files, canary.words.values()) == set(), canary.words
    assert len(canary.words) >= 12


def _walk(journeys: Journeys, canary: Canaries) -> str:
    """Sent, not rendered, branched, woken by an event of which a word is kept, sent again; the enrollment's id."""
    key, phone = "canaries", "+14155553178"
    canary.words["phone"] = phone.removeprefix("+")
    _put_template(journeys.shop, "e2e-canary", "email", {"subject": "{{ data.note }}", "text": "{{ data.word }}"})
    broken = {"subject": "{{ contact.note | divided_by: 0 }}", "text": canary("broken content")}
    _put_template(journeys.shop, "e2e-broken", "email", broken)
    _put_template(journeys.shop, "e2e-text", "sms", {"body": "{{ data.bought.item }}"})
    document = re.sub("<([a-z]+)>", lambda found: canary(found[1]), _JOURNEY)
    journeys.publish(key, document=document)
    attributes = {"first_name": canary("first name"), "note": canary("attribute")}
    contact = journeys.contact(canary("contact"), phone=phone, attributes=attributes)
    journeys.event(f"{key}-in", contact, order=canary("entry key"), note=canary("property"))
    journeys.until(key, contact, waits_at("bought"))
    journeys.event(f"{key}-bought", contact, item=canary("kept"))
    ended = journeys.until(key, contact, has_ended)
    assert [visit["step"] for visit in ended["visits"]] == ["mark", "hello", "broken", "say", "bought", "which", "text"]
    return str(ended["id"])


def _put_template(shop: Shop, key: str, channel: str, content: Mapping[str, str]) -> None:
    body = {"channel": channel, "default_locale": "en", "locales": {"en": content}}
    shop.api.put(f"/v1/templates/{key}", json=body).raise_for_status()


def _put_contact(shop: Shop, canary: Canaries) -> None:
    body = {
        "email": f"{canary('email')}@example.com",
        "attributes": {"first_name": canary("name"), "note": canary("attribute")},
    }
    shop.api.put(f"/v1/contacts/{canary('external id')}", json=body).raise_for_status()


def _send_all_ways(shop: Shop, canary: Canaries) -> None:
    """Delivered, bounced, refused by the provider, not rendered, suppressed, cancelled, lost, with a fallback."""
    to = {"contact": canary("external id")}
    ordinary = {
        "content": _A_MESSAGE,
        "data": {"word": canary("data")},
        "metadata": {"m": canary("metadata")},
        "tags": [canary("tag")],
        "headers": {"X-Word": canary("header")},
    }
    shop.until_delivered(shop.send(to=to, channel="email", key=canary("idempotency key"), **ordinary))
    bouncing = f"bounce+{canary('bouncing address')}@example.com"
    shop.until(shop.email(bouncing), lambda story: story["bounced"])
    assert shop.until_closed(shop.email(bouncing))["outcome"] == "suppressed"
    refused = shop.email(f"message-rejected+{canary('refused address')}@example.com")
    assert shop.until_closed(refused)["outcome"] == "failed"
    broken = {"subject": "{{ contact.note | divided_by: 0 }}", "text": canary("broken content")}
    shop.until_closed(shop.send(to=to, channel="email", content=broken))
    later = (datetime.now(UTC) + timedelta(seconds=20)).isoformat()
    cancelled = shop.email(f"{canary('cancelled address')}@example.com", send_at=later)
    shop.api.post(f"/v1/messages/{cancelled}/cancel").raise_for_status()
    _lose_an_answer(shop, f"{canary('lost answer')}@example.com")
    _fall_back(shop, f"silent+{canary('silent address')}@example.com", canary("fallback"))


def _lose_an_answer(shop: Shop, address: str) -> None:
    shop.control.add_fault(fault="accept_then_5xx", match=address, count=1)
    shop.until_delivered(shop.email(address))
    shop.control.faults()


def _fall_back(shop: Shop, address: str, words: str) -> None:
    fallback = {"channel": "sms", "after": "PT1S", "content": {"body": words}}
    message = shop.email(address, to={"email": address, "phone": "+14155559999"}, fallback=fallback)
    shop.until_delivered(shop.story(message)["fallback_id"])


async def _control_execution(stack: RunningStack, word: str) -> None:
    """What a careless workflow would do."""
    client = await Client.connect(stack.urls["temporal"])
    handle = await client.start_workflow("Control", word, id="control", task_queue="nobody-polls-this")
    await handle.terminate()


def _found(files: Iterable[Path], words: Iterable[str]) -> set[str]:
    contents = [file.read_bytes() for file in files]
    return {word for word in words if any(word.encode() in content for content in contents)}
