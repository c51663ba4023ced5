"""Frequency caps: exact whoever races, for a channel and for all of them, and given back."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from tests.relay.ledger import Attempt, Ledger
from waypost.messaging.rules import FrequencyCap
from waypost.messaging.values import AttemptState, Channel
from waypost.store.caps import give_back_caps, give_back_just_taken, take_caps
from waypost.store.database import Database
from waypost.store.reconcile import settle_voided

DAY = timedelta(days=1)
EMAIL, SMS = Channel.EMAIL, Channel.SMS


def cap(limit: int, *, period: timedelta = DAY, channel: Channel | None = None) -> FrequencyCap:
    return FrequencyCap(channel=channel, limit=limit, period=period)


async def people(ledger: Ledger, count: int = 1) -> list[UUID]:
    """Contacts of the ledger's tenant."""
    made = [uuid4() for _ in range(count)]
    await ledger.execute(
        "INSERT INTO contacts (tenant_id, id, external_id) SELECT %s, p, p::text FROM unnest(%s::uuid[]) AS p",
        (ledger.tenant, made),
    )
    return made


async def taken(
    app: Database,
    ledger: Ledger,
    contacts: list[UUID],
    *caps: FrequencyCap,
    channel: Channel = EMAIL,
    ignore: bool = False,
    now: datetime | None = None,
) -> set[UUID]:
    """One claim's part of the caps, in a transaction of its own."""
    async with app.transaction(ledger.tenant) as connection:
        if now is not None:
            await connection.execute("SELECT set_config('app.now', %s, true)", (now.isoformat(),))
        return await take_caps(
            connection, tenant=ledger.tenant, contacts=contacts, channel=channel, caps=caps, ignore=ignore
        )


async def uses(ledger: Ledger, contact: UUID) -> list[tuple[datetime, str]]:
    rows = await ledger.execute("SELECT sent_at, channels FROM cap_usage WHERE contact_id = %s", (contact,))
    return [each for row in rows for each in zip(row["sent_at"], row["channels"], strict=True)]


async def clock(ledger: Ledger) -> datetime:
    now: datetime = (await ledger.execute("SELECT waypost_now() AS now"))[0]["now"]
    return now


async def test_a_contact_gets_as_many_as_the_cap_allows(app: Database, ledger: Ledger) -> None:
    ann, bob = await people(ledger, 2)
    for _ in range(2):
        assert await taken(app, ledger, [ann], cap(2)) == {ann}
    assert await taken(app, ledger, [ann, bob], cap(2)) == {bob}
    assert len(await uses(ledger, ann)) == 2


async def test_without_caps_nothing_is_counted(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    assert await taken(app, ledger, [ann]) == {ann}
    assert await uses(ledger, ann) == []


async def test_what_was_sent_a_period_ago_does_not_count_and_is_forgotten(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    start = await clock(ledger)
    assert await taken(app, ledger, [ann], cap(1), now=start)
    assert not await taken(app, ledger, [ann], cap(1), now=start + DAY - timedelta(seconds=1))
    assert await taken(app, ledger, [ann], cap(1), now=start + DAY)
    assert await taken(app, ledger, [ann], cap(1), now=start + 2 * DAY + timedelta(hours=1))
    assert [at for at, _ in await uses(ledger, ann)] == [start + 2 * DAY + timedelta(hours=1)]


async def test_a_cap_of_one_channel_leaves_the_others_alone(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    caps = (cap(1, channel=EMAIL), cap(1, channel=SMS))
    assert await taken(app, ledger, [ann], *caps)
    assert not await taken(app, ledger, [ann], *caps)
    assert await taken(app, ledger, [ann], *caps, channel=SMS)
    assert await taken(app, ledger, [ann], *caps, channel=Channel.WHATSAPP)


async def test_a_cap_without_channel_counts_all_of_them_together(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    caps = (cap(5, channel=EMAIL), cap(2))
    assert await taken(app, ledger, [ann], *caps, channel=SMS)
    assert await taken(app, ledger, [ann], *caps)
    assert not await taken(app, ledger, [ann], *caps)
    assert not await taken(app, ledger, [ann], *caps, channel=Channel.WHATSAPP)


async def test_every_cap_must_allow_it(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    caps = (cap(3, period=7 * DAY), cap(1))
    start = await clock(ledger)
    passed = [bool(await taken(app, ledger, [ann], *caps, now=start + days * DAY)) for days in (0, 0.5, 1, 2, 3, 4, 7)]
    assert passed == [True, False, True, True, False, False, True]


async def test_what_ignores_caps_goes_out_and_counts_for_the_others(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    assert await taken(app, ledger, [ann], cap(1))
    assert await taken(app, ledger, [ann], cap(1), ignore=True)
    assert not await taken(app, ledger, [ann], cap(2))


async def test_what_is_given_back_can_be_taken_again(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    start = await clock(ledger)
    caps = (cap(2),)
    await taken(app, ledger, [ann], *caps, now=start)
    await taken(app, ledger, [ann], *caps, channel=SMS, now=start + timedelta(seconds=1))
    async with app.transaction(ledger.tenant) as connection:
        claimed_at = start + timedelta(milliseconds=30)
        await give_back_caps(connection, tenant=ledger.tenant, channel=EMAIL, uses=[(ann, claimed_at)])
    assert await uses(ledger, ann) == [(start + timedelta(seconds=1), "sms")]
    assert await taken(app, ledger, [ann], *caps)
    assert not await taken(app, ledger, [ann], *caps)


async def test_what_the_same_transaction_took_is_given_back(app: Database, ledger: Ledger) -> None:
    """A claim that found the message cancelled: of two uses on the channel the one just taken goes."""
    (ann,) = await people(ledger)
    start = await clock(ledger)
    await taken(app, ledger, [ann], cap(3), now=start + timedelta(seconds=5))  # dated later by a clock that ran ahead
    async with app.transaction(ledger.tenant) as connection:
        await take_caps(connection, tenant=ledger.tenant, contacts=[ann], channel=EMAIL, caps=[cap(3)])
        await give_back_just_taken(connection, tenant=ledger.tenant, channel=EMAIL, contacts=[ann])
    assert await uses(ledger, ann) == [(start + timedelta(seconds=5), "email")]


async def test_two_of_one_contact_are_given_back_at_once(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    start = await clock(ledger)
    moments = [start, start + timedelta(seconds=90)]
    for moment in moments:
        await taken(app, ledger, [ann], cap(2), now=moment)
    async with app.transaction(ledger.tenant) as connection:
        given = [(ann, moment) for moment in moments]
        await give_back_caps(connection, tenant=ledger.tenant, channel=EMAIL, uses=given)
    assert await uses(ledger, ann) == []


async def test_an_attempt_proven_void_gives_its_use_back(app: Database, loops: Database, ledger: Ledger) -> None:
    """The loops prove it, for all tenants at once; a message of another class took nothing."""
    ann, bob = await people(ledger, 2)
    assert await taken(app, ledger, [ann, bob], cap(1)) == {ann, bob}
    held = [
        await ledger.add_message(
            Attempt(AttemptState.VOID, age=timedelta()), contact_id=person, phase="held", **{"class": kind}
        )
        for person, kind in ((ann, "marketing"), (bob, "transactional"))
    ]
    async with loops.transaction() as connection:
        await settle_voided(connection, [(ledger.tenant, message) for message in held], signal="nudge")
    assert await taken(app, ledger, [ann, bob], cap(1)) == {ann}
    assert {(await ledger.message(message))["phase"] for message in held} == {"ready"}


async def test_what_was_never_taken_gives_nothing_back(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    start = await clock(ledger)
    await taken(app, ledger, [ann], cap(2), now=start)
    async with app.transaction(ledger.tenant) as connection:
        for given in ((ann, start - DAY), (ann, start + timedelta(hours=1)), (uuid4(), start)):
            await give_back_caps(connection, tenant=ledger.tenant, channel=EMAIL, uses=[given])
        await give_back_caps(connection, tenant=ledger.tenant, channel=EMAIL, uses=[])
    assert len(await uses(ledger, ann)) == 1


async def test_who_looks_back_less_far_forgets_nothing_that_another_counts(app: Database, ledger: Ledger) -> None:
    """A journey's cap of a week beside the tenant's of a day, which campaigns take alone."""
    (ann,) = await people(ledger)
    tenants, journeys = cap(5), cap(2, period=7 * DAY)
    now = await clock(ledger)
    assert await taken(app, ledger, [ann], tenants, journeys, now=now)
    assert await taken(app, ledger, [ann], tenants, now=now + 3 * DAY)
    assert await taken(app, ledger, [ann], tenants, journeys, now=now + 6 * DAY) == set()
    assert await taken(app, ledger, [ann], tenants, journeys, now=now + 8 * DAY)


async def test_a_contact_that_is_gone_or_anothers_does_not_pass(app: Database, ledger: Ledger) -> None:
    (ann,) = await people(ledger)
    tenant, _ = await ledger.add_tenant(ledger.account)
    stranger = uuid4()
    await ledger.insert("contacts", tenant_id=tenant, id=stranger, external_id="x")
    assert await taken(app, ledger, [ann, uuid4(), stranger], cap(1)) == {ann}


async def test_a_contact_that_is_being_deleted_is_not_waited_for(app: Database, ledger: Ledger) -> None:
    ann, bob = await people(ledger, 2)
    async with app.transaction(ledger.tenant) as deleting:
        await (await deleting.execute("DELETE FROM contacts WHERE id = %s RETURNING id", (ann,))).fetchall()
        async with asyncio.timeout(5):
            assert await taken(app, ledger, [ann, bob], cap(1)) == {bob}


async def test_no_race_breaks_a_cap_and_none_ends_in_a_deadlock(app: Database, ledger: Ledger) -> None:
    """Campaigns of two channels at the same second, in pages of any order: each cap exactly filled, by nobody twice."""
    contacts = await people(ledger, 40)
    caps = (cap(2, channel=EMAIL), cap(3))
    passed: Counter[tuple[UUID, Channel]] = Counter()

    async def campaign(number: int) -> None:
        channel = (EMAIL, SMS)[number % 2]
        order = random.Random(number).sample(contacts, len(contacts))
        for start in range(0, len(order), 10):
            for contact in await taken(app, ledger, order[start : start + 10], *caps, channel=channel):
                passed[contact, channel] += 1

    await asyncio.gather(*(campaign(number) for number in range(12)))
    for contact in contacts:
        assert passed[contact, EMAIL] <= 2
        assert passed[contact, EMAIL] + passed[contact, SMS] == 3
        assert sorted(channel for _, channel in await uses(ledger, contact)) == (
            ["email"] * passed[contact, EMAIL] + ["sms"] * passed[contact, SMS]
        )


async def test_taking_and_giving_back_at_once_never_breaks_a_cap(app: Database, ledger: Ledger) -> None:
    contacts = await people(ledger, 10)
    caps = (cap(1),)
    held: Counter[UUID] = Counter()
    most = 0

    async def campaign(number: int) -> None:
        nonlocal most
        chance = random.Random(number)
        for _ in range(8):
            page = chance.sample(contacts, 5)
            won = await taken(app, ledger, page, *caps)
            held.update(won)
            most = max(most, *held.values(), 0)
            now = await clock_of(app)
            held.subtract(won)
            async with app.transaction(ledger.tenant) as connection:
                given = [(contact, now) for contact in chance.sample(sorted(won), len(won))]
                await give_back_caps(connection, tenant=ledger.tenant, channel=EMAIL, uses=given)

    await asyncio.gather(*(campaign(number) for number in range(8)))
    assert most == 1
    assert [await uses(ledger, contact) for contact in contacts] == [[]] * 10


async def clock_of(app: Database) -> datetime:
    async with app.transaction() as connection:
        row = await (await connection.execute("SELECT waypost_now()")).fetchone()
    assert row is not None
    now: datetime = row[0]
    return now
