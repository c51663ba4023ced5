"""The control of the feedback bench: one route, and one transaction an event.

What a team writes first: SNS posts to a route, which checks the signature, stores the event and updates its rows, and
answers when that is committed. `python -m waypost.bench.feedback_control --database URL --account ID --topic ARN
--certificate FILE` says `ready PORT`, then serves until SIGTERM.
"""

import argparse
import os
import socket
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import uvicorn
import uvloop
from fastapi import FastAPI, Request
from psycopg_pool import AsyncConnectionPool

from waypost.messaging.provider import ProviderEvent
from waypost.messaging.values import EventKind
from waypost.providers.ses.certificates import CertificateStore
from waypost.providers.ses.events import parse_ses_event
from waypost.providers.ses.sns import SnsTrust, SnsVerifier, parse_envelope
from waypost.providers.wire import Origin

CERTIFICATES = "http://127.0.0.1:1"
"""Where the bench's envelopes say that their certificate is; nothing is fetched from there."""

_POOL = 16

_STORE = """
INSERT INTO provider_events (account_id, event_id, kind, tenant_id, message_id, attempt_id, provider_message_id,
                             occurred_at, applied_at, raw, month)
SELECT %s, %s, %s, tenant_id, message_id, id, %s, e.at, waypost_now(), %s, waypost_month(e.at)
FROM attempts CROSS JOIN LATERAL (SELECT %s::timestamptz AS at) e WHERE id = %s AND month = waypost_month(now())
ON CONFLICT (account_id, event_id, month) DO NOTHING RETURNING tenant_id, message_id
"""
_SEND = """
UPDATE attempts SET send_event_at = %s, provider_message_id = %s
WHERE tenant_id = %s AND id = %s AND month = waypost_month(now())
"""
_DELIVERY = """
UPDATE messages SET delivery = 'delivered' WHERE tenant_id = %s AND id = %s AND delivery IN ('none', 'delayed')
"""


@dataclass(frozen=True, kw_only=True)
class Control:
    """The route and what it needs."""

    account: UUID
    verifier: SnsVerifier
    pool: AsyncConnectionPool

    async def event(self, request: Request) -> dict[str, str]:
        """Verify, store, apply, commit, answer."""
        envelope = parse_envelope(await request.body())
        self.verifier.verify(envelope)
        for event in parse_ses_event(envelope.message, event_id=envelope.message_id):
            await self._keep(event)
        return {}

    async def _keep(self, event: ProviderEvent) -> None:
        async with self.pool.connection() as connection:
            moment: datetime = event.occurred_at
            values = (self.account, event.event_id, event.kind.value, event.provider_message_id, event.raw)
            stored = await (await connection.execute(_STORE, (*values, moment, event.attempt_id))).fetchone()
            if stored is None:
                return
            tenant, message = stored
            if event.kind is EventKind.SEND:
                await connection.execute(_SEND, (moment, event.provider_message_id, tenant, event.attempt_id))
            elif event.kind is EventKind.DELIVERY:
                await connection.execute(_DELIVERY, (tenant, message))


async def serve(database: str, account: UUID, topic: str, certificate: bytes) -> None:
    """Serve on any free port until told to stop."""
    verifier = SnsVerifier(
        SnsTrust(topic_arn=topic, origin=Origin.of(CERTIFICATES)), CertificateStore(lambda _: certificate)
    )
    async with AsyncConnectionPool(database, min_size=_POOL, max_size=_POOL) as pool:
        await pool.wait()
        control = Control(account=account, verifier=verifier, pool=pool)
        app = FastAPI()
        app.post("/events")(control.event)
        listening = socket.create_server(("127.0.0.1", 0))
        os.write(1, f"ready {listening.getsockname()[1]}\n".encode())
        await uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).serve(sockets=[listening])


def main() -> None:
    """Run the control."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", required=True)
    parser.add_argument("--account", type=UUID, required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    given = parser.parse_args()
    uvloop.run(serve(given.database, given.account, given.topic, given.certificate.read_bytes()))


if __name__ == "__main__":
    main()
