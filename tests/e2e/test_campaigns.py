"""Campaigns from the call to their end, through every process of a real stack."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.e2e.conftest import Shop
from waypost.stack.demo_tenant import SES_KEY
from waypost.stack.running import RunningStack

Campaign = dict[str, Any]

_names = (f"campaign-{number}" for number in itertools.count(1))
OUTCOMES = ("sent", "maybe_sent", "failed", "suppressed", "skipped", "expired", "cancelled")
TEMPLATE = {
    "channel": "email",
    "default_locale": "en",
    "locales": {"en": {"subject": "News", "text": "Hello {{ contact.attributes.name }}"}},
}


class Campaigns:
    """A tenant's campaigns, each to contacts of its own."""

    def __init__(self, shop: Shop) -> None:
        self.api = shop.api
        self.shop = shop
        shop.api.put("/v1/templates/e2e-news", json=TEMPLATE).raise_for_status()
        shop.api.put("/v1/topics/e2e-topic", json={"name": "News"}).raise_for_status()

    def people(self, name: str, count: int) -> list[str]:
        """Contacts on a list of that name; their addresses."""
        made = [self.contact(name, number) for number in range(count)]
        self.api.post("/v1/contacts/batch", json={"contacts": made}).raise_for_status()
        self.api.put(f"/v1/lists/{name}", json={"name": name}).raise_for_status()
        members = {"external_ids": [each["external_id"] for each in made]}
        self.api.post(f"/v1/lists/{name}/members", json=members).raise_for_status()
        return [each["email"] for each in made]

    @staticmethod
    def contact(name: str, number: int) -> dict[str, Any]:
        """One of them."""
        identity = f"{name}-{number}"
        return {"external_id": identity, "email": f"{identity}@example.com", "attributes": {"name": identity}}

    def put(self, name: str, **more: Any) -> None:
        """A draft to the list of that name."""
        body = {"name": name, "channel": "email", "template": "e2e-news", "audience": {"list": name}}
        self.api.put(f"/v1/campaigns/{name}", json=body | more).raise_for_status()

    def act(self, name: str, what: str) -> Campaign:
        """Schedule, pause, resume or cancel."""
        answer = self.api.post(f"/v1/campaigns/{name}/{what}")
        assert answer.status_code == 200, answer.text
        shown: Campaign = answer.json()
        return shown

    def show(self, name: str) -> Campaign:
        """As it is."""
        shown: Campaign = self.api.get(f"/v1/campaigns/{name}").raise_for_status().json()
        return shown

    def until(self, name: str, holds: Callable[[Campaign], object], *, seconds: float = 45) -> Campaign:
        """As soon as that holds."""
        deadline = time.monotonic() + seconds
        while not holds(shown := self.show(name)):
            assert time.monotonic() < deadline, shown
            time.sleep(0.1)
        return shown

    def got(self, name: str) -> Counter[str]:
        """What the provider accepted for those contacts, by address without its case: the truth."""
        return Counter(
            entry["recipient"].lower()
            for entry in self.shop.control.log()
            if entry["account"] == SES_KEY and entry["recipient"].lower().startswith(f"{name}-")
        )


@pytest.fixture
def campaigns(shop: Shop) -> Iterator[Campaigns]:
    """The demo tenant's; whatever fault a test makes ends with it."""
    yield Campaigns(shop)
    shop.control.faults()


def ended(shown: Campaign) -> bool:
    return shown["state"] in ("completed", "cancelled")


def sum_of(shown: Campaign) -> int:
    """Of the run's outcomes."""
    counts = shown["run"]["counts"]
    return sum(counts[outcome] for outcome in OUTCOMES)


def test_three_hundred_get_it_once_or_have_a_reason(campaigns: Campaigns) -> None:
    """With suppressed, unconsenting, topic-leaving and addressless contacts, and two who share an address."""
    name, api = next(_names), campaigns.api
    people = campaigns.people(name, 300)
    for address in people[:4]:
        api.post("/v1/suppressions", json={"channel": "email", "address": address}).raise_for_status()
    for number in range(4, 7):
        api.delete(f"/v1/contacts/{name}-{number}/topics/e2e-topic").raise_for_status()
    for number in (7, 8):
        contact = campaigns.contact(name, number) | {"consent": {"email": False}}
        api.put(f"/v1/contacts/{name}-{number}", json=_without_id(contact)).raise_for_status()
    nobody = campaigns.contact(name, 9) | {"email": None, "phone": "+14155551234"}
    api.put(f"/v1/contacts/{name}-9", json=_without_id(nobody)).raise_for_status()
    twin = campaigns.contact(name, 11) | {"email": people[10].upper()}
    api.put(f"/v1/contacts/{name}-11", json=_without_id(twin)).raise_for_status()
    campaigns.put(name, topic="e2e-topic")
    campaigns.act(name, "schedule")
    shown = campaigns.until(name, ended)
    run = shown["run"]
    assert (shown["state"], run["state"], run["audience"], run["open"]) == ("completed", "completed", 298, 0)
    assert sum_of(shown) == 298
    assert {outcome: run["counts"][outcome] for outcome in OUTCOMES if run["counts"][outcome]} == {
        "sent": 289,
        "suppressed": 9,
    }
    got = campaigns.got(name)
    assert set(got.values()) == {1}
    assert set(got) == set(people) - {people[number] for number in (*range(10), 11)}, "of twins one"
    delivered = campaigns.until(name, lambda each: each["run"]["counts"]["delivered"] == 289)
    assert delivered["run"]["execution"].endswith(f"campaign%2F{run['id']}")
    assert httpx.get(delivered["run"]["execution"], trust_env=False).status_code == 200


def test_a_second_request_to_schedule_is_the_same_run(campaigns: Campaigns) -> None:
    name = next(_names)
    campaigns.people(name, 20)
    campaigns.put(name)
    runs = {campaigns.act(name, "schedule")["run"]["id"] for _ in range(3)}
    campaigns.until(name, ended)
    runs.add(campaigns.act(name, "schedule")["run"]["id"])
    assert len(runs) == 1
    assert campaigns.got(name).total() == 20


def test_a_pause_stops_it_a_resume_goes_on_and_nobody_gets_it_twice(campaigns: Campaigns) -> None:
    name = next(_names)
    people = campaigns.people(name, 300)
    campaigns.put(name, schedule={"throttle_per_minute": 1800})
    campaigns.act(name, "schedule")
    campaigns.until(name, lambda shown: shown["run"]["counts"]["sent"] >= 30)
    assert campaigns.act(name, "pause")["state"] == "paused"
    time.sleep(0.5)
    before = campaigns.got(name).total()
    time.sleep(1.5)
    assert campaigns.got(name).total() == before < 300
    assert campaigns.act(name, "pause")["state"] == "paused", "asked twice"
    assert campaigns.act(name, "resume")["state"] == "sending"
    shown = campaigns.until(name, ended)
    assert (shown["state"], sum_of(shown)) == ("completed", 300)
    assert campaigns.got(name) == Counter(people)


def test_cancelled_it_ends_with_an_outcome_for_everybody(campaigns: Campaigns) -> None:
    name = next(_names)
    campaigns.people(name, 200)
    campaigns.put(name, schedule={"throttle_per_minute": 600})
    campaigns.act(name, "schedule")
    campaigns.until(name, lambda shown: shown["run"]["counts"]["sent"] >= 10)
    campaigns.act(name, "cancel")
    shown = campaigns.until(name, lambda each: each["run"]["open"] == 0)
    counts = shown["run"]["counts"]
    assert shown["state"] == "cancelled"
    assert counts["cancelled"] > 0
    assert counts["sent"] + counts["cancelled"] == 200
    assert campaigns.got(name).total() == counts["sent"]
    refused = campaigns.api.post(f"/v1/campaigns/{name}/resume")
    assert (refused.status_code, refused.json()["code"]) == (409, "campaign_over")


async def test_terminated_by_hand_in_temporal_it_goes_on(campaigns: Campaigns, stack: RunningStack) -> None:
    name = next(_names)
    people = campaigns.people(name, 200)
    campaigns.put(name, schedule={"throttle_per_minute": 1200})
    campaigns.act(name, "schedule")
    shown = campaigns.until(name, lambda each: each["run"]["counts"]["sent"] >= 20)
    client = await Client.connect(stack.urls["temporal"])
    await client.get_workflow_handle(f"campaign/{shown['run']['id']}").terminate("by hand")
    shown = campaigns.until(name, ended, seconds=60)
    assert (shown["state"], sum_of(shown)) == ("completed", 200)
    assert campaigns.got(name) == Counter(people)


def test_answers_that_get_lost_are_found_by_evidence_and_nobody_gets_it_twice(campaigns: Campaigns) -> None:
    name = next(_names)
    people = campaigns.people(name, 100)
    campaigns.shop.control.add_fault(fault="accept_then_reset", match=f"{name}-", count=1)
    campaigns.put(name)
    campaigns.act(name, "schedule")
    shown = campaigns.until(name, ended, seconds=60)
    assert shown["run"]["counts"]["sent"] == 100
    assert campaigns.got(name) == Counter(people)


def _without_id(contact: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in contact.items() if name != "external_id" and value is not None}
