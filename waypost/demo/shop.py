"""The bodies of the demo's messages: what a small shop asks of `POST /v1/messages`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from waypost.demo import templates
from waypost.demo.people import Person

GUEST = "left-the-list@example.com"
"""Somebody who asked by telephone not to be written to."""

_FALLBACK_AFTER = "PT3S"
_GOODS = (("Mug", 900), ("Notebook", 450), ("Tea, 100 g", 1250), ("Poster", 1900), ("Socks & laces", 790))


class Shop:
    """One run's messages: all carry the run as their tag, and no two say the same to the same person."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._token = run.rpartition("-")[2]
        self._tomorrow = datetime.now(UTC) + timedelta(days=1)

    def receipt(self, person: Person) -> dict[str, object]:
        """An e-mail with a table of one to four lines."""
        bought = [_GOODS[(person.number + place) % len(_GOODS)] for place in range(1 + person.number % 4)]
        items = [
            {"name": name, "quantity": 1 + place, "price": _euros(cents)} for place, (name, cents) in enumerate(bought)
        ]
        total = sum(cents * (1 + place) for place, (_, cents) in enumerate(bought))
        data = {"order": self._order(person), "items": items, "total": _euros(total)}
        return {**self._to(person, templates.RECEIPT), "data": data}

    def parcel(self, person: Person) -> dict[str, object]:
        """A text message."""
        data = {"order": self._order(person), "day": self._tomorrow.date().isoformat()}
        return {**self._to(person, templates.PARCEL), "data": data}

    def login_code(self, person: Person) -> dict[str, object]:
        """An e-mail, and a text message where it is not delivered in time."""
        code = f"{(person.number * 7919 + int(self._token, 36)) % 1_000_000:06d}"
        fallback = {"channel": "sms", "after": _FALLBACK_AFTER, "content": {"body": "Your code: {{ data.code }}"}}
        more = {"class": "login_code", "data": {"code": code}, "fallback": fallback}
        return {**self._to(person, templates.LOGIN_CODE), **more}

    def letter(self, to: Mapping[str, str], *, channel: str) -> dict[str, object]:
        """Nothing that anybody asked for."""
        words = "Come back soon."
        content = {"body": words} if channel == "sms" else {"subject": "We miss you", "text": words}
        return {"to": to, "channel": channel, "content": content, "tags": [self._run]}

    def tomorrows(self, person: Person) -> dict[str, object]:
        """The receipt again, but not yet."""
        return {**self.receipt(person), "send_at": self._tomorrow.isoformat()}

    def key(self, what: str, number: int | str) -> str:
        """An Idempotency-Key, made from what the message is about."""
        return f"{self._run}-{what}-{number}"

    def _order(self, person: Person) -> str:
        return f"{self._token.upper()}-{1000 + person.number}"

    def _to(self, person: Person, template: str) -> dict[str, object]:
        return {"to": {"contact": person.external_id}, "template": {"key": template}, "tags": [self._run]}


def _euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
