"""Doors: a changed account gets a new one, and nobody is left standing in the old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from activities import doors
from activities.doors import AccountUnusableError, Door, DoorBusyError, Doors
from tests.activities.sending_bench import Blocked, ScriptedSender, accepted, account
from waypost.messaging.provider import ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import Channel
from waypost.store.errors import CredentialsError

MESSAGE = RenderedMessage(
    attempt_id=uuid4(), channel=Channel.EMAIL, to="ann@example.com", from_address="us@example.com"
)


class House:
    """Accounts that can be changed, and the senders that were opened for them."""

    def __init__(self, *, width: int = 2) -> None:
        self.region = "us-east-1"
        self.loads = 0
        self.opened: list[ScriptedSender] = []
        self.refuse: Exception | None = None
        self.doors = Doors(self._load, self._open, width=width)

    async def _load(self, identity: UUID) -> ProviderAccount:
        self.loads += 1
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise self.refuse
        return account(identity, region=self.region)

    def _open(self, _: ProviderAccount) -> ScriptedSender:
        self.opened.append(ScriptedSender())
        return self.opened[-1]


async def call(door: Door) -> ReplyKind | None:
    """One call as the activity makes it."""
    async with door.slot(1):
        reply = await door.call(MESSAGE, claimed_at=time.monotonic())
    return reply.kind if reply else None


async def test_an_account_is_loaded_once_for_all_who_come_at_once() -> None:
    house, identity = House(), uuid4()
    found = await asyncio.gather(*(house.doors.to(identity) for _ in range(20)))
    assert (house.loads, len(house.opened), len(set(map(id, found)))) == (1, 1, 1)
    house.doors.close()


async def test_an_unchanged_account_keeps_its_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "_FRESH_S", 0)
    house, identity = House(), uuid4()
    assert await house.doors.to(identity) is await house.doors.to(identity)
    assert (house.loads, len(house.opened)) == (2, 1)
    house.doors.close()


async def test_who_is_inside_the_old_door_of_a_changed_account_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim that was made must be called: a closed thread pool would leave it unknown with nothing sent."""
    monkeypatch.setattr(doors, "_FRESH_S", 0)
    house, identity, blocked = House(), uuid4(), Blocked()
    old = await house.doors.to(identity)
    house.opened[0].during = blocked
    in_call = asyncio.create_task(call(old))
    await asyncio.to_thread(blocked.entered.wait)
    async with old.slot(1):  # claimed, about to call
        house.region = "eu-west-1"
        assert await house.doors.to(identity) is not old
        blocked.let_go.set()
        assert await in_call is ReplyKind.ACCEPTED
        house.opened[0].during = None
        assert not house.opened[0].closed
        assert (await old.call(MESSAGE, claimed_at=time.monotonic())) == accepted()
    await asyncio.sleep(0.01)
    assert house.opened[0].closed
    assert not house.opened[1].closed
    house.doors.close()


async def test_a_taken_thread_is_waited_for_no_longer_than_the_patience() -> None:
    house = House(width=1)
    door = await house.doors.to(uuid4())
    async with door.slot(1):
        with pytest.raises(DoorBusyError):
            async with door.slot(0.01):
                raise AssertionError("there was no room")
    assert await call(door) is ReplyKind.ACCEPTED
    house.doors.close()


async def test_a_slot_is_free_again_after_an_error() -> None:
    house = House(width=1)
    door = await house.doors.to(uuid4())
    for _ in range(3):
        with pytest.raises(LookupError):
            async with door.slot(0.1):
                raise LookupError
    house.doors.close()


async def test_a_claim_that_is_too_old_is_not_called() -> None:
    house = House()
    door = await house.doors.to(uuid4())
    assert await door.call(MESSAGE, claimed_at=time.monotonic() - 2.1) is None
    assert house.opened[0].calls == []
    house.doors.close()


async def test_an_account_that_cannot_be_opened_says_so_in_a_code() -> None:
    house = House()
    house.refuse = CredentialsError("The environment variable X is not set in this process.")
    with pytest.raises(AccountUnusableError, match="credentials_unavailable"):
        await house.doors.to(uuid4())
    house.refuse = None
    await house.doors.to(uuid4())
    house.doors.close()


class BulkScript(ScriptedSender):
    """Takes many messages at once."""

    def bulk_key(self, message: RenderedMessage, /) -> str:
        return message.from_address

    def send_bulk(self, messages: Sequence[RenderedMessage], /) -> list[ProviderReply]:
        return [self.send(message) for message in messages]


async def test_many_messages_go_in_one_call_under_the_same_fence() -> None:
    sender = BulkScript()
    door = Door(account(uuid4()), sender, 1)
    assert door.bulk_key(MESSAGE) == "us@example.com"
    replies = await door.call_bulk([MESSAGE] * 3, claimed_at=time.monotonic())
    assert replies == [accepted()] * 3
    assert await door.call_bulk([MESSAGE] * 3, claimed_at=time.monotonic() - 2.1) is None
    assert len(sender.calls) == 3
    door.close()


async def test_an_adapters_own_bug_leaves_every_message_of_the_call_unknown() -> None:
    sender = BulkScript()
    sender.replies.append(LookupError("a bug"))
    door = Door(account(uuid4()), sender, 1)
    replies = await door.call_bulk([MESSAGE] * 3, claimed_at=time.monotonic())
    assert replies is not None
    assert [(reply.kind, reply.code) for reply in replies] == [(ReplyKind.UNKNOWN, "LookupError")] * 3
    door.close()


def test_a_provider_without_bulk_calls_takes_each_message_alone() -> None:
    door = Door(account(uuid4()), ScriptedSender(), 1)
    assert door.bulk_key(MESSAGE) is None
    door.close()
