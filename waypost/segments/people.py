"""What a rule can know of a contact, as the reference evaluator is given it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from waypost.messaging.values import Delivery, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """An event: something that the contact did."""

    name: str
    occurred_at: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastMessage:
    """A message to the contact. `campaign` and `template` are keys."""

    outcome: Outcome | None = None
    outcome_at: datetime | None = None
    delivery: Delivery = Delivery.NONE
    bounced: bool = False
    campaign: str | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A contact with everything around it. `lists` are keys, `topics` states by key."""

    external_id: str
    created_at: datetime
    email: str | None = None
    phone: str | None = None
    time_zone: str | None = None
    locale: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    consent: Mapping[str, Any] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()
    topics: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Deed, ...] = ()
    messages: tuple[PastMessage, ...] = ()
