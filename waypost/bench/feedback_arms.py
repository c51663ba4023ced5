"""The two arms of the feedback bench: ingest behind its queue, and one route with one transaction an event.

Both are given the same two events of each message, Send and Delivery, and have all of them applied in PostgreSQL.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

import httpx
import orjson

from waypost.bench.arms import gather_bounded
from waypost.bench.bare_loop import open_ses
from waypost.bench.children import stop
from waypost.bench.feedback_control import CERTIFICATES
from waypost.bench.feedback_ledger import Ledger, attempt_id
from waypost.bench.posting import JsonPoster
from waypost.simulators.acceptance import Acceptance, random_uuid
from waypost.simulators.accounts import Accounts
from waypost.simulators.control_client import ControlClient
from waypost.simulators.ses_events import SNS_SUBJECT, SesEvent, event_document
from waypost.simulators.ses_lifecycle import DELIVERED
from waypost.simulators.sns import Notary
from waypost.stack.running import RunningStack

EVENTS_EACH = len(DELIVERED)
CALL = 50
CONTROL_AT_ONCE = 32
_REGION = "us-east-1"
_PATIENCE_S = 300.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The tenant and the SES account that the bench made for itself."""

    tenant: UUID
    account: UUID
    key: str
    topic: str


async def make_subject(stack: RunningStack) -> Subject:
    """An account with a queue at the stack's simulators, and a tenant that sends through it."""
    key = f"BENCHFEED{uuid4().hex[:8].upper()}"
    simulators, topic = stack.urls["simulators"], f"arn:aws:sns:{_REGION}:000000000000:waypost-{key}"
    account = {
        "name": key.lower(),
        "kind": "ses",
        "mode": "test",
        "region": _REGION,
        "endpoint": simulators,
        "rate_per_second": 1000,
        "credentials": {"source": "sealed", "key": key, "secret": "simulated"},
        "feed": "durable",
        "topic_arn": topic,
        "certificate_origin": simulators,
        "queue_url": f"{simulators}/000000000000/waypost-{key}",
    }
    admin = {"authorization": f"Bearer {stack.admin_key}"}
    async with httpx.AsyncClient(base_url=stack.urls["api"], headers=admin, timeout=30, trust_env=False) as api:
        made = (await api.post("/v1/provider-accounts", json=account)).raise_for_status().json()
        tenant = (await api.post("/v1/tenants", json={"name": f"bench {key}"})).raise_for_status().json()
        sender = {"channel": "email", "address": "bench@feedback.example", "account": key.lower(), "is_default": True}
        (await api.put(f"/v1/tenants/{tenant['id']}/senders/email", json=sender)).raise_for_status()
    return Subject(tenant=UUID(tenant["id"]), account=UUID(made["id"]), key=key, topic=topic)


class IngestArm:
    """Mail that the simulators take straight from the bench, whose events the stack's ingest reads from the queue."""

    def __init__(self, stack: RunningStack, control: ControlClient, ledger: Ledger, subject: Subject) -> None:
        self._control = control
        self._ledger = ledger
        self._subject = subject
        self._ses = open_ses(endpoint=stack.urls["simulators"], key=subject.key)

    def rate(self, word: str, count: int) -> float:
        """Events applied a second, of those of `count` messages that wait together. Blocking. Raises TimeoutError."""
        self._ledger.make_sent(word, count)
        since = self._ledger.last_event()
        [stop] = self._control.add_fault(fault="stop_feed", account=self._subject.key)
        try:
            self.send(word, range(count))
            self._control.wait_until(lambda stats: stats["events"]["held"] >= count * EVENTS_EACH, seconds=_PATIENCE_S)
        finally:
            self._control.remove_fault(stop["id"])
        self.until_applied(since, count * EVENTS_EACH)
        return self._ledger.rate(since)

    def steady(self, word: str, *, events_per_s: float, seconds: float) -> int:
        """Make events at a rate for a while; returns how many messages they are of. Blocking."""
        pause = CALL * EVENTS_EACH / events_per_s
        calls = int(seconds / pause)
        self._ledger.make_sent(word, calls * CALL)
        since, began = self._ledger.last_event(), time.monotonic()
        for call in range(calls):
            time.sleep(max(0.0, began + call * pause - time.monotonic()))
            self.send(word, range(call * CALL, (call + 1) * CALL))
        self.until_applied(since, calls * CALL * EVENTS_EACH)
        return calls * CALL

    def send(self, word: str, numbers: Sequence[int]) -> None:
        """Have the simulators accept these messages."""
        for first in range(0, len(numbers), CALL):
            self._ses.send_bulk_email(
                FromEmailAddress="bench@feedback.example",
                ConfigurationSetName="waypost",
                DefaultContent={
                    "Template": {"TemplateContent": {"Subject": "Hello", "Text": "Hello"}, "TemplateData": "{}"}
                },
                BulkEmailEntries=[
                    {
                        "Destination": {"ToAddresses": [f"{word}-{number}@crowd.test"]},
                        "ReplacementTags": [{"Name": "waypost_attempt", "Value": str(attempt_id(word, number))}],
                    }
                    for number in numbers[first : first + CALL]
                ],
            )

    def until_applied(self, since: int, count: int) -> None:
        """Return when so many events after this number are applied. Raises TimeoutError."""
        give_up = time.monotonic() + _PATIENCE_S
        while (applied := self._ledger.applied(since)) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{applied} of {count} events were applied after {_PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)


class ControlArm:
    """`with ControlArm(…) as control:` one route in a process of its own."""

    def __init__(self, owner: str, ledger: Ledger, subject: Subject) -> None:
        """`owner`: how the database's owner connects."""
        self._owner = owner
        self._ledger = ledger
        self._subject = subject
        self._notary = Notary()
        self._account = Accounts().get("ses", subject.key, region=_REGION)
        self._process: subprocess.Popen[str] | None = None
        self._url = ""

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        with tempfile.TemporaryDirectory(prefix="waypost-bench-") as folder:
            certificate = Path(folder) / "certificate.pem"
            certificate.write_bytes(self._notary.certificate_pem)
            where = ("--database", self._owner, "--certificate", str(certificate))
            whose = ("--account", str(self._subject.account), "--topic", self._subject.topic)
            argv = (sys.executable, "-P", "-m", "waypost.bench.feedback_control", *where, *whose)
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            assert self._process.stdout is not None
            said = self._process.stdout.readline().split()
        if said[:1] != ["ready"]:
            raise RuntimeError("the control ended before it was ready")
        self._url = f"http://127.0.0.1:{said[1]}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        stop(self._process)

    async def rate(self, word: str, count: int) -> float:
        """Events applied a second; they are signed before the first is posted."""
        await asyncio.to_thread(self._ledger.make_sent, word, count)
        since = self._ledger.last_event()
        bodies = [orjson.loads(body) for number in range(count) for body in self._envelopes(word, number)]
        async with JsonPoster(self._url, headers={}) as poster:

            async def post(number: int) -> None:
                await poster.post("/events", bodies[number])

            await gather_bounded(len(bodies), CONTROL_AT_ONCE, post)
        return self._ledger.rate(since)

    def _envelopes(self, word: str, number: int) -> list[bytes]:
        """The message's events as SNS posts them."""
        attempt = str(attempt_id(word, number))
        acceptance = Acceptance(
            provider="ses",
            account=self._subject.key,
            message_id=f"0100{random_uuid()}-000000",
            recipients=(f"{word}-{number}@crowd.test",),
            source="bench@feedback.example",
            subject="Hello",
            attempt_id=attempt,
            configuration_set="waypost",
            tags={"waypost_attempt": attempt},
        )
        events = [SesEvent(random_uuid(), step, acceptance, acceptance.at) for step in DELIVERED]
        return [
            self._notary.notification(
                event_document(event, self._account),
                sns_id=event.sns_id,
                subject=SNS_SUBJECT,
                topic_arn=self._subject.topic,
                version="2",
                base_url=CERTIFICATES,
            )
            for event in events
        ]
