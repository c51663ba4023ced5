"""Clients under an open load: arrivals don't wait for answers, and a request without one is repeated with its key."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from waypost.drills.posting import NoAnswerError, Poster
from waypost.drills.tenants import DrillTenant

_REQUEST_TIMEOUT_S = 10.0
_REPEAT_AFTER_S = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One accepted message. Times are seconds."""

    message_id: UUID
    recipient: str = field(repr=False)
    asked_at: float
    """`time.monotonic()` of the first request."""
    first_status: int
    """0: the connection failed."""
    first_took: float
    requests: int


@dataclass(frozen=True, slots=True)
class Response:
    """One answer to one request; `status` 0: the connection failed. Times are seconds, `at` on `time.monotonic()`."""

    at: float
    status: int
    took: float
    retry_after: bool


@dataclass(slots=True)
class Heard:
    """All that the clients were told."""

    answers: list[Answer] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    asked: int = 0
    unanswered: int = 0

    def statuses(self) -> dict[int, int]:
        """How often each status came, over all requests."""
        return dict(sorted(Counter(response.status for response in self.responses).items()))

    def between(self, since: float, until: float) -> list[Response]:
        """Answers to requests made in this time."""
        return [response for response in self.responses if since <= response.at < until]


class Clients:
    """Send messages at a rate, each until it is accepted."""

    def __init__(self, url: str, tenants: Sequence[DrillTenant], *, run: str) -> None:
        self._api = Poster(url, timeout_s=_REQUEST_TIMEOUT_S)
        self._tenants = tenants
        self._run = run
        self._pending: set[asyncio.Task[None]] = set()
        self.heard = Heard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Give up what has no answer yet."""
        for task in self._pending:
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)
        self._api.close()

    async def load(
        self, *, rate: float, until: asyncio.Event, at_least: int = 0, prefixes: Sequence[str] = ("ok",)
    ) -> None:
        """Let `rate` messages a second arrive until the event is set and there were `at_least` of them.

        `prefixes` are taken in turn: the recipient's first word, by which the simulators' faults know it.
        """
        started, sent = time.monotonic(), 0
        while sent < at_least or not until.is_set():
            self.ask(prefix=prefixes[sent % len(prefixes)])
            sent += 1
            await asyncio.sleep(max(0.0, started + sent / rate - time.monotonic()))

    def ask(self, *, prefix: str = "ok") -> None:
        """One more message arrives now; `prefix` is the recipient's word for the simulators."""
        number = self.heard.asked
        self.heard.asked += 1
        task = asyncio.create_task(self._until_accepted(number, f"{prefix}+{self._run}-{number}@example.test"))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def all_answered(self, *, timeout_s: float) -> None:
        """Wait for the repeats; who is still without an answer then is counted as unanswered."""
        if self._pending:
            _, left = await asyncio.wait(self._pending, timeout=timeout_s)
            self.heard.unanswered = len(left)

    async def _until_accepted(self, number: int, recipient: str) -> None:
        tenant = self._tenants[number % len(self._tenants)]
        key = f"{self._run}-{number}"
        asked_at = time.monotonic()
        first: tuple[int, float] | None = None
        for requests in range(1, 10_000):
            began = time.monotonic()
            status, body, retry_after = await self._request(tenant, key, self._body(recipient, number))
            took = time.monotonic() - began
            self.heard.responses.append(Response(began, status, took, retry_after is not None))
            first = first or (status, took)
            if status == 202:
                self.heard.answers.append(
                    Answer(
                        message_id=UUID(body["id"]),
                        recipient=recipient,
                        asked_at=asked_at,
                        first_status=first[0],
                        first_took=first[1],
                        requests=requests,
                    )
                )
                return
            await asyncio.sleep(retry_after or _REPEAT_AFTER_S[min(requests, len(_REPEAT_AFTER_S)) - 1])

    async def _request(
        self, tenant: DrillTenant, key: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any], float | None]:
        headers = {"authorization": f"Bearer {tenant.api_key}", "idempotency-key": key}
        try:
            answer = await self._api.post("/v1/messages", body, headers)
        except NoAnswerError:
            return 0, {}, None
        wait = answer.headers.get("retry-after", "")
        return answer.status, answer.content() if answer.status == 202 else {}, float(wait) if wait.isdigit() else None

    def _body(self, recipient: str, number: int) -> dict[str, Any]:
        """Unlike any other message's: the same content twice for one recipient is a duplicate."""
        return {
            "to": {"email": recipient},
            "content": {"channel": "email", "subject": f"Receipt {number}", "text": f"Run {self._run}, no. {number}."},
        }
