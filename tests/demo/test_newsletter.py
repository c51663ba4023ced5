"""What the demo foresees of its campaign's recipients: whoever of the list is no recipient counts as lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID, uuid4

from waypost.demo.door import Door
from waypost.demo.endings import End
from waypost.demo.newsletter import Newsletter
from waypost.demo.people import Person, people
from waypost.messaging.values import Channel


class Recipients:
    """A door behind which there are these recipients alone."""

    def __init__(self, persons: list[Person]) -> None:
        self._rows = [_recipient(person) for person in persons]

    async def all(self, _: str, **__: object) -> AsyncIterator[dict[str, Any]]:
        for row in self._rows:
            yield row


def _recipient(person: Person) -> dict[str, Any]:
    flags = dict.fromkeys(("bounced", "complained", "undeliverable"), False)
    row = {"message_id": str(uuid4()), "contact": person.external_id, "address": person.email}
    return {**row, "outcome": "sent", "delivery": "delivered", **flags}


async def _settled(persons: list[Person], recipients: list[Person], gone: set[tuple[Channel, str]]) -> Newsletter:
    letter = Newsletter(cast(Door, Recipients(recipients)), run="demo-1", persons=persons)
    async for _ in letter.settle(gone):
        break
    return letter


async def test_somebody_of_the_list_who_is_no_recipient_is_foreseen_and_missing() -> None:
    persons = list(people(2))
    letter = await _settled(persons, persons[:1], set())
    assert len(letter.rows) == 1
    assert len(letter.foreseen.keys() - letter.rows.keys()) == 1


async def test_an_address_that_was_suppressed_is_not_written_to() -> None:
    person = next(people(1))
    letter = await _settled([person], [person], {(Channel.EMAIL, person.email)})
    assert set(letter.foreseen.values()) == {frozenset({End.SUPPRESSED})}
    assert all(isinstance(message, UUID) for message in letter.rows)
