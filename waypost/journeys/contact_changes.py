"""What happens to a contact while it walks: each gives the contact as it is afterwards."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from waypost.journeys.happenings import ContactChanged, Receipt, ReceiptKind
from waypost.messaging.values import Delivery, Outcome
from waypost.segments.people import Deed, PastMessage, Person

_NOT_CHANGED = frozenset({"attributes", "external_id", "created_at", "events", "messages"})


def applied(person: Person, change: ContactChanged) -> Person:
    """With the attributes laid over, and the fields that can be changed."""
    fields = {name: value for name, value in change.fields.items() if name not in _NOT_CHANGED}
    return replace(with_attributes(person, change.attributes), **fields)


def with_attributes(person: Person, changes: Mapping[str, Any]) -> Person:
    """With attributes laid over; None takes one away."""
    merged = {**person.attributes, **changes}
    return replace(person, attributes={name: value for name, value in merged.items() if value is not None})


def deed_done(person: Person, deed: Deed) -> Person:
    """With one more event."""
    return replace(person, events=(*person.events, deed))


def written_to(person: Person, *, template: str, at: datetime) -> Person:
    """With one more message."""
    message = PastMessage(outcome=Outcome.SENT, outcome_at=at, template=template)
    return replace(person, messages=(*person.messages, message))


def receipted(person: Person, receipt: Receipt, place: int | None) -> Person:
    """With what is known of a message; `place` is where it is among the contact's messages."""
    if place is None:
        return person
    match receipt.kind:
        case ReceiptKind.DELIVERED:
            message = replace(person.messages[place], delivery=Delivery.DELIVERED)
        case ReceiptKind.BOUNCED | ReceiptKind.FAILED:
            message = replace(person.messages[place], bounced=True)
    return replace(person, messages=(*person.messages[:place], message, *person.messages[place + 1 :]))
