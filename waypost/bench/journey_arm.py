"""Waypost's arm of the journeys' benches: a tenant with a crowd, its journeys and events over the public API."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import orjson

from waypost.bench.arms import until
from waypost.bench.journey_crowd import JourneyLedger, external_id
from waypost.bench.posting import JsonPoster
from waypost.bench.statements import owner_conninfo
from waypost.stack.demo_tenant import SENDERS
from waypost.stack.running import RunningStack

BATCH = 500
JOINED = "joined"
"""The event that they enter with."""

_PATIENCE_S = 1_800.0
_EVERY_S = 0.5


class JourneyArm:
    """`async with JourneyArm(stack) as arm:` a tenant of its own, without a journey yet."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self.tenant = UUID(int=0)
        self._api = httpx.AsyncClient(base_url=stack.urls["api"], timeout=60, trust_env=False)
        self._poster: JsonPoster | None = None
        self._ledger: JourneyLedger | None = None

    @property
    def poster(self) -> JsonPoster:
        """Posts with the tenant's key."""
        assert self._poster is not None
        return self._poster

    @property
    def ledger(self) -> JourneyLedger:
        """The tenant's rows."""
        assert self._ledger is not None
        return self._ledger

    async def __aenter__(self) -> Self:
        self._api.headers["authorization"] = f"Bearer {self._stack.admin_key}"
        made = await self._ask("POST", "/v1/tenants", {"name": f"bench {uuid4().hex[:8]}", "requests_per_second": 5000})
        self.tenant = UUID(made["id"])
        await self._ask("PUT", f"/v1/tenants/{self.tenant}/senders/email", SENDERS["email"])
        key = {"name": "bench", "mode": "test", "scopes": ["*"]}
        bearer = f"Bearer {(await self._ask('POST', f'/v1/tenants/{self.tenant}/keys', key))['key']}"
        self._api.headers["authorization"] = bearer
        self._poster = JsonPoster(self._stack.urls["api"], headers={"authorization": bearer})
        self._ledger = JourneyLedger(owner_conninfo(self._stack), tenant=self.tenant)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._api.aclose()
        if self._poster is not None:
            await self._poster.__aexit__(kind, error, at)
        if self._ledger is not None:
            self._ledger.close()

    async def publish(self, document: Mapping[str, Any]) -> None:
        """Make a journey what people enter."""
        await self._ask("PUT", f"/v1/journeys/{document['journey']}", document)
        await self._ask("POST", f"/v1/journeys/{document['journey']}/publish", {})

    async def archive(self, journey: str) -> None:
        """Nobody enters it any more, and whoever is in it leaves."""
        await self._ask("POST", f"/v1/journeys/{journey}/archive", {"remove": True})

    async def put_template(self, key: str) -> None:
        """A letter that reads nothing."""
        content = {"channel": "email", "subject": "Hello", "text": "Hello"}
        body = {"channel": "email", "default_locale": "en", "locales": {"en": content}}
        await self._ask("PUT", f"/v1/templates/{key}", body)

    async def enroll(self, journey: str, contact: int) -> UUID:
        """Let one contact in."""
        made = await self._ask("POST", f"/v1/journeys/{journey}/enrollments", {"contact": external_id(contact)})
        return UUID(made["id"])

    async def join(self, contacts: Sequence[int], properties: Mapping[str, Any]) -> None:
        """Let contacts in by the event that the journey begins with."""
        for first in range(0, len(contacts), BATCH):
            some = contacts[first : first + BATCH]
            await self.poster.post("/v1/events/batch", batch(f"{JOINED}-{uuid4().hex}", some, [JOINED], properties))

    async def until_resting(self, step: str, count: int) -> None:
        """Return when so many enrollments rest at a step. Raises TimeoutError."""

        async def resting() -> bool:
            return self.ledger.enrollments(step).resting >= count

        await until(resting, timeout_s=_PATIENCE_S, every_s=_EVERY_S)

    async def until_over(self) -> None:
        """Return when no enrollment is open. Raises TimeoutError."""

        async def over() -> bool:
            return self.ledger.enrollments("").open == 0

        await until(over, timeout_s=_PATIENCE_S, every_s=_EVERY_S)

    async def until_told(self) -> None:
        """Return when the enrollments have taken note of everything. Raises TimeoutError."""

        async def told() -> bool:
            return self.ledger.untold() == 0

        await until(told, every_s=0.1)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = await self._api.request(method, path, json=dict(body))
        if answer.is_error:
            raise RuntimeError(f"{method} {path} gave {answer.status_code}: {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found


def batch(word: str, contacts: Sequence[int], names: Sequence[str], properties: Mapping[str, Any]) -> bytes:
    """A request's body: an event of each contact, of the names in turn. The word makes the ids."""
    events = [
        {
            "id": f"{word}-{place}",
            "contact": external_id(contact),
            "name": names[place % len(names)],
            "properties": dict(properties),
        }
        for place, contact in enumerate(contacts)
    ]
    return orjson.dumps({"events": events})
