"""A tenant's journeys on the real stack, as a team has them: put, published, entered by events, looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.e2e.conftest import Shop

Shown = dict[str, Any]

DOCUMENT = """
journey: {key}
name: The first days
entry: {{kind: event, event: {key}-signed-up, expects: [plan]}}
reentry: once
exits:
  - {{reason: closed, event: {key}-closed}}
start: welcome
steps:
  welcome: {{kind: send, channel: email, template: e2e-welcome, class: transactional, next: bought}}
  bought:
    kind: wait_for
    for: {{event: {key}-bought}}
    keep_as: order
    timeout: {timeout}
    next: thanks
    on_timeout: end
  thanks: {{kind: send, channel: sms, template: e2e-thanks, class: transactional, next: end}}
"""
_WELCOME = {"subject": "Welcome {{ contact.first_name }}", "text": "You have {{ data.plan }}."}
_THANKS = {"body": "Thanks for {{ data.order.item }}"}


class Journeys:
    """Whatever fails says what the API said."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self._api = shop.api
        for key, channel, content in (("e2e-welcome", "email", _WELCOME), ("e2e-thanks", "sms", _THANKS)):
            body = {"channel": channel, "default_locale": "en", "locales": {"en": content}}
            self._api.put(f"/v1/templates/{key}", json=body).raise_for_status()

    def publish(self, key: str, *, timeout: str = "PT1M", document: str = DOCUMENT) -> None:
        """The document under that key."""
        text = document.format(key=key, timeout=timeout)
        headers = {"content-type": "application/yaml"}
        put = self._api.put(f"/v1/journeys/{key}", content=text, headers=headers)
        assert put.status_code in (200, 201), put.text
        published = self._api.post(f"/v1/journeys/{key}/publish")
        assert published.status_code == 200, published.text

    def contact(self, key: str, *, phone: str, **more: Any) -> str:
        """Somebody; the external id."""
        body = {"email": f"{key}@example.com", "phone": phone, **more}
        self._api.put(f"/v1/contacts/{key}", json=body).raise_for_status()
        return key

    def event(self, name: str, contact: str, **properties: Any) -> None:
        """The contact does that, and it is told twice, as by one who had no answer."""
        body = {"id": f"{name}-{contact}", "contact": contact, "name": name, "properties": properties}
        for _ in range(2):
            answer = self._api.post("/v1/events", json=body)
            assert answer.status_code in (200, 201), answer.text

    def only(self, key: str, contact: str) -> Shown:
        """The one enrollment of that contact, with its visits."""
        listed = self._api.get(f"/v1/journeys/{key}/enrollments", params={"contact": contact}).raise_for_status()
        (row,) = listed.json()["data"]
        return self.get(f"/v1/enrollments/{row['id']}")

    def until(self, key: str, contact: str, holds: Callable[[Shown], object], *, seconds: float = 20) -> Shown:
        """The enrollment as soon as that holds."""
        deadline = time.monotonic() + seconds
        while not holds(shown := self.only(key, contact)):
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        return shown

    def get(self, path: str, **query: str) -> Shown:
        """What is there."""
        answer = self._api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        shown: Shown = answer.json()
        return shown


def waits_at(step: str) -> Callable[[Mapping[str, Any]], bool]:
    """Whether it rests there."""
    return lambda shown: shown["step"] == step and shown["resting_since"] is not None


def has_ended(shown: Mapping[str, Any]) -> bool:
    """Whether it is over."""
    return bool(shown["state"] == "ended")
