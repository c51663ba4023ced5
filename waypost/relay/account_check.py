"""Is a provider account fit to send, and does its feed bring back what it sends? Each finding names what to set."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from uuid import UUID, uuid4

from waypost.messaging.provider import LookUpError, ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import Channel, FeedKind, Mode, ProviderKind
from waypost.providers.accounts import check_account, open_sender
from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import AccountUnusableError, EndpointRefusedError
from waypost.providers.ses.check import SesAccountFacts, describe_account, probe_message
from waypost.providers.twilio.look_up import TwilioLookUp
from waypost.store.account_check import FeedSight, feed_sight
from waypost.store.accounts import find_account, load_account
from waypost.store.database import Database
from waypost.store.errors import CredentialsError
from waypost.store.probes import ProbeSender, claim_probe, probe_sender, record_probe
from waypost.store.sealing import Sealer

DEADLINES = Deadlines()
POLL_EVERY_S = 0.25
POLLED_LATELY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `advice` says what to do where it is not ok."""

    ok: bool
    what: str
    advice: str = ""


class _Failed(Exception):  # noqa: N818 - not an error: it ends the walk
    """The finding that makes all later ones moot."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what)
        self.finding = Finding(ok=False, what=what, advice=advice)


async def check(database: Database, named: str, *, sealer: Sealer, wait_s: float) -> AsyncIterator[Finding]:
    """Look at the account of this name or id, step by step; ends at the first finding that makes the rest moot.

    An SES account is sent one message to Amazon's mailbox simulator, whose event must come back within `wait_s`.
    """
    try:
        account = await _load(database, named, sealer)
        yield Finding(ok=True, what=f"The {account.mode} account is there and its credentials open")
        for finding in _settings(account):
            yield finding
        match account.kind:
            case ProviderKind.SES:
                async for finding in _check_ses(database, account, wait_s):
                    yield finding
            case ProviderKind.TWILIO:
                yield await _check_twilio(account)
    except _Failed as failed:
        yield failed.finding


async def _load(database: Database, named: str, sealer: Sealer) -> ProviderAccount:
    async with database.session() as session:
        known = await find_account(session, named)
    if known is None:
        raise _Failed(
            "There is no provider account of this name or id", "List them: GET /v1/provider-accounts (admin key)."
        )
    try:
        account = await load_account(database, known.id, sealer=sealer)
        check_account(account)
    except CredentialsError as error:
        raise _Failed("The credentials cannot be opened in this process", error.message) from None
    except EndpointRefusedError as error:
        raise _Failed(
            f"The account names an origin that it must not ({error.code})", f"Change its field {error.field}."
        ) from None
    return account


def _settings(account: ProviderAccount) -> list[Finding]:
    """What the feed needs and the row lacks."""
    lacks: list[tuple[str, str]] = []
    if account.kind is ProviderKind.SES and account.topic_arn is None:
        lacks.append(("topic_arn", "the SNS topic that the configuration set publishes to"))
    if account.feed is FeedKind.DURABLE and account.queue_url is None:
        lacks.append(("queue_url", "the SQS queue that is subscribed to the topic"))
    if account.feed is FeedKind.LOSSY and account.callback_base is None:
        lacks.append(("callback_base", "the public URL of `waypost ingest`, for callbacks"))
    if (
        account.callback_base is not None
        and account.mode is Mode.LIVE
        and not account.callback_base.startswith("https")
    ):
        lacks.append(("callback_base", "an https URL: callbacks carry addresses"))
    found = [
        Finding(ok=False, what=f"{field} is not set as it must be", advice=f"Set {field}: {what}.")
        for field, what in lacks
    ]
    return found or [Finding(ok=True, what=f"The {account.feed} feed has all of its settings")]


async def _check_ses(database: Database, account: ProviderAccount, wait_s: float) -> AsyncIterator[Finding]:
    try:
        facts = await asyncio.to_thread(describe_account, account, DEADLINES)
    except AccountUnusableError as error:
        raise _Failed(
            f"SES does not answer for these credentials ({error.code})",
            "Check region, endpoint and credentials, and that their policy allows ses:GetAccount and ses:SendEmail.",
        ) from None
    for finding in _standing(facts):
        yield finding
    sender = await _sender(database, account.id)
    if sender.configuration_set is None:
        yield Finding(
            ok=False,
            what="No sender of the account has a configuration set",
            advice="Set configuration_set: without it SES publishes no event, and an unknown send stays unknown.",
        )
    yield await _probe(database, account, sender, wait_s)


def _standing(facts: SesAccountFacts) -> list[Finding]:
    found = [
        Finding(
            ok=facts.sending_enabled,
            what=f"SES sending is {'on' if facts.sending_enabled else 'off'} ({facts.enforcement})",
            advice="" if facts.sending_enabled else "Sending is paused at SES: see its reputation dashboard.",
        ),
        Finding(
            ok=True,
            what=f"SES gives {facts.max_per_second:g} messages a second and {facts.max_per_day:g} a day; "
            f"{facts.sent_last_day:g} were sent in the last one",
        ),
    ]
    if not facts.production_access:
        advice = "Ask AWS for production access; until then only verified addresses can be written to."
        found.append(Finding(ok=False, what="The SES account is in the sandbox", advice=advice))
    return found


async def _sender(database: Database, account: UUID) -> ProbeSender:
    async with database.transaction() as connection:
        sender = await probe_sender(connection, account=account)
    if sender is None:
        raise _Failed("No email sender goes through the account", "Make one: PUT /v1/senders/{key}.")
    return sender


async def _probe(database: Database, account: ProviderAccount, sender: ProbeSender, wait_s: float) -> Finding:
    probe = uuid4()
    async with database.transaction() as connection:
        await claim_probe(connection, probe=probe, account=account.id)
    message = probe_message(attempt_id=probe, from_address=sender.address, configuration_set=sender.configuration_set)
    reply = await asyncio.to_thread(_send, account, message)
    states = {ReplyKind.ACCEPTED: "accepted", ReplyKind.UNKNOWN: "unknown"}
    async with database.transaction() as connection:
        await record_probe(connection, probe=probe, state=states.get(reply.kind, "failed"), code=reply.code)
    if reply.kind is not ReplyKind.ACCEPTED:
        return Finding(
            ok=False,
            what=f"The probe to the mailbox simulator was not accepted: {reply.kind} ({reply.code})",
            advice="Check that the sender's address or domain is verified in this region, and its configuration set.",
        )
    return await _await_event(database, account, probe, wait_s)


def _send(account: ProviderAccount, message: RenderedMessage) -> ProviderReply:
    sender = open_sender(account, DEADLINES)
    try:
        return sender.send(message)
    finally:
        sender.close()


async def _await_event(database: Database, account: ProviderAccount, probe: UUID, wait_s: float) -> Finding:
    started = monotonic()
    while True:
        async with database.transaction() as connection:
            sight = await feed_sight(connection, probe=probe)
        waited = monotonic() - started
        if sight.returned:
            return Finding(ok=True, what=f"The probe's Send event came back after {waited:.1f} s: the feed works")
        if waited > wait_s:
            advice = _missing(account, sight)
            return Finding(
                ok=False, what=f"The probe's Send event did not come back within {wait_s:g} s", advice=advice
            )
        await asyncio.sleep(POLL_EVERY_S)


def _missing(account: ProviderAccount, sight: FeedSight) -> str:
    """The setting that is most likely missing, from what else the feed did."""
    if sight.last_error is not None:
        return f"Ingest cannot read the feed ({sight.last_error}): check queue_url, credentials and the queue's policy."
    polled = sight.polled_age_s is not None and sight.polled_age_s < POLLED_LATELY_S
    if account.feed is FeedKind.DURABLE and not polled:
        return "Nobody reads the queue: start `waypost ingest` with this database, and check queue_url."
    if sight.brought_others:
        return "Other events come: the configuration set must publish Send events too, with message tags."
    if account.feed is FeedKind.DURABLE:
        return (
            "The queue is read and stays empty: give the configuration set an SNS event destination to topic_arn, "
            "subscribe the queue to that topic, and let the topic write to it (SQS access policy)."
        )
    return (
        f"Subscribe {account.callback_base}/webhooks/{account.id}/ses to topic_arn, see that the subscription is "
        "confirmed, and that `waypost ingest` can be reached there."
    )


async def _check_twilio(account: ProviderAccount) -> Finding:
    """Reading the list proves the credentials; a callback can only be proven by a message to a person."""
    nobody = RenderedMessage(
        attempt_id=uuid4(), channel=Channel.SMS, to="+15005550006", from_address="+15005550006", text="probe"
    )
    try:
        await asyncio.to_thread(_look_up, account, nobody)
    except LookUpError as error:
        return Finding(
            ok=False,
            what=f"Twilio does not answer for these credentials ({error})",
            advice="Check the account SID, the auth token and the endpoint.",
        )
    return Finding(
        ok=True,
        what="Twilio answers for these credentials; send yourself a message to see a status callback arrive",
    )


def _look_up(account: ProviderAccount, message: RenderedMessage) -> None:
    look_up = TwilioLookUp(account, DEADLINES)
    try:
        look_up.find(message, since=datetime.now(UTC))
    finally:
        look_up.close()
