"""The webhooks: what a provider signed is kept, everything else is a problem document."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import httpx
import pytest

from tests.ingest.conftest import Ingest, sealed
from tests.ingest.test_feeds import queue_account, send
from tests.providers.made import sms, twilio_account
from tests.relay.ledger import Attempt, Ledger, until
from waypost.messaging.ids import attempt_id
from waypost.messaging.provider import Credentials, ReplyKind
from waypost.messaging.values import AttemptState
from waypost.providers.deadlines import Deadlines
from waypost.providers.twilio.sender import TwilioSender
from waypost.simulators.running import RunningSimulator


@pytest.fixture
async def http(ingest: Ingest) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=ingest.url, trust_env=False) as client:
        yield client


async def test_sns_over_https_is_confirmed_verified_and_kept(
    ingest: Ingest, ledger: Ledger, simulator: RunningSimulator
) -> None:
    account = await queue_account(ledger, simulator)
    lossy = "UPDATE provider_accounts SET feed = 'lossy', queue_url = NULL, certificate_origin = %s WHERE id = %s"
    await ledger.execute(lossy, (simulator.url, account.id))
    attempt = Attempt(AttemptState.IN_FLIGHT, account=account.id)
    message = await ledger.add_message(attempt, account_id=account.id)
    key, webhook = account.credentials.key, f"{ingest.url}/webhooks/{account.id}/ses"
    simulator.control.account("ses", key, webhook_url=webhook)

    async def subscribed() -> bool:
        return bool(simulator.control.account("ses", key)["webhook_subscribed"])

    await until(subscribed)
    await send(account, [attempt_id(message=message, number=1)])

    async def delivered() -> bool:
        return bool((await ledger.message(message))["delivery"] == "delivered")

    await until(delivered)


async def twilio(ledger: Ledger, simulator: RunningSimulator, ingest: Ingest) -> tuple[UUID, Credentials]:
    credentials = Credentials(key=f"AC{uuid4().hex}", secret="token")
    identity = await ledger.add_account(
        kind="twilio",
        feed="lossy",
        endpoint=simulator.url,
        credentials=sealed(credentials.key, credentials.secret),
        callback_base=ingest.url,
    )
    return identity, credentials


async def test_twilios_callbacks_end_in_the_ledger(ingest: Ingest, ledger: Ledger, simulator: RunningSimulator) -> None:
    identity, credentials = await twilio(ledger, simulator, ingest)
    attempt = Attempt(AttemptState.IN_FLIGHT, account=identity)
    message = await ledger.add_message(attempt, account_id=identity, channel="sms", address="+15551112222")
    account = twilio_account(simulator.url, id=identity, credentials=credentials, callback_base=ingest.url)
    sender = TwilioSender(account, Deadlines())
    reply = sender.send(sms(attempt_id=attempt_id(message=message, number=1)))
    sender.close()
    assert reply.kind is ReplyKind.ACCEPTED

    async def delivered() -> bool:
        row = await ledger.message(message)
        return (row["outcome"], row["delivery"]) == ("sent", "delivered")

    await until(delivered)
    assert ingest.count("waypost_events_received_total", feed="twilio") >= 2


async def test_stop_suppresses_for_the_senders_tenant_and_start_lifts_it(
    ingest: Ingest, ledger: Ledger, simulator: RunningSimulator
) -> None:
    identity, credentials = await twilio(ledger, simulator, ingest)
    number, person = "+15550001111", f"+1555{uuid4().int % 10**7:07d}"
    update = "UPDATE senders SET channel = 'sms', address = %s, account_id = %s WHERE tenant_id = %s"
    await ledger.execute(update, (number, identity, ledger.tenant))
    inbound = f"{ingest.url}/webhooks/{identity}/twilio/inbound"
    simulator.control.account("twilio", credentials.key, secret=credentials.secret, inbound_url=inbound)

    async def reason() -> str | None:
        rows = await ledger.execute("SELECT reason FROM suppressions WHERE tenant_id = %s", (ledger.tenant,))
        return rows[0]["reason"] if rows else None

    async def stopped() -> bool:
        return await reason() == "stop"

    async def lifted() -> bool:
        return await reason() is None

    simulator.control.inbound(person=person, number=number, body="Stop.", account=credentials.key)
    await until(stopped)
    simulator.control.inbound(person=person, number=number, body="START", account=credentials.key)
    await until(lifted)
    query = "SELECT tenant_id, keyword FROM inbound_messages WHERE account_id = %s ORDER BY received_at"
    rows = await ledger.execute(query, (identity,))
    assert rows == [
        {"tenant_id": ledger.tenant, "keyword": "stop"},
        {"tenant_id": ledger.tenant, "keyword": "start"},
    ]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/webhooks/nonsense/ses", "{}", 404, "not_found"),
        (f"/webhooks/{uuid4()}/ses", "{}", 404, "not_found"),
        ("/webhooks/{ses}/twilio/inbound", "", 404, "not_found"),
        ("/webhooks/{ses}/ses", "not json", 422, "malformed_event"),
        ("/webhooks/{ses}/ses", "x" * 300_000, 413, "body_too_large"),
        (f"/webhooks/{{twilio}}/twilio/status/{uuid4()}", "MessageSid=SM1&MessageStatus=sent", 403, "untrusted_event"),
        ("/webhooks/{twilio}/twilio/inbound", "a=b", 403, "untrusted_event"),
        ("/webhooks/{twilio}/twilio/status/none", "", 404, "not_found"),
        ("/elsewhere", "", 404, "not_found"),
    ],
)
async def test_what_is_not_the_providers_is_a_problem(
    http: httpx.AsyncClient,
    ingest: Ingest,
    ledger: Ledger,
    simulator: RunningSimulator,
    path: str,
    body: str,
    status: int,
    code: str,
) -> None:
    ses = await queue_account(ledger, simulator)
    identity, _ = await twilio(ledger, simulator, ingest)
    answer = await http.post(path.format(ses=ses.id, twilio=identity), content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unsigned_notification_of_the_right_topic_is_refused(
    http: httpx.AsyncClient, ledger: Ledger, simulator: RunningSimulator
) -> None:
    account = await queue_account(ledger, simulator)
    forged = {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": account.topic_arn,
        "Message": "{}",
        "Timestamp": "2026-11-24T00:00:00Z",
        "SignatureVersion": "2",
        "Signature": "AAAA",
        "SigningCertURL": "http://127.0.0.1:1/elsewhere.pem",
    }
    answer = await http.post(f"/webhooks/{account.id}/ses", json=forged)
    assert (answer.status_code, answer.json()["code"]) == (403, "untrusted_event")


async def test_it_says_that_it_lives_and_is_ready_and_what_it_counts(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).text == "ok\n"
    assert (await http.get("/readyz")).text == "ready\n"
    assert "waypost_events_unapplied_age_seconds 0.0" in (await http.get("/metrics")).text
    assert (await http.get("/webhooks/x/ses")).status_code == 405
