"""Waypost's arm: the public API in front, the simulators' log of what arrived behind."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx

from waypost.bench.arms import gather_bounded, until
from waypost.bench.posting import JsonPoster
from waypost.stack.running import RunningStack

TEMPLATE = "bench-receipt"
_CONTENT = {
    "channel": "email",
    "subject": "Your receipt, {{ data.name }}",
    "html": "<p>Dear {{ data.name }},</p><p>your order {{ data.order }} of {{ data.total }} is on its way.</p>",
}


class WaypostArm:
    """Sends by `POST /v1/messages`, one message a request, and waits for arrivals at the provider."""

    def __init__(self, stack: RunningStack) -> None:
        assert stack.demo_api_key is not None
        self._api = httpx.AsyncClient(
            base_url=stack.urls["api"],
            headers={"authorization": f"Bearer {stack.demo_api_key}"},
            limits=httpx.Limits(max_connections=64),
            timeout=30,
            trust_env=False,
        )
        self._poster = JsonPoster(stack.urls["api"], headers={"authorization": f"Bearer {stack.demo_api_key}"})
        self._simulators = httpx.AsyncClient(base_url=stack.urls["simulators"], timeout=30, trust_env=False)

    async def __aenter__(self) -> Self:
        answer = await self._api.put(
            f"/v1/templates/{TEMPLATE}",
            json={"channel": "email", "default_locale": "en", "locales": {"en": _CONTENT}},
        )
        answer.raise_for_status()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._poster.__aexit__(kind, error, at)
        await self._api.aclose()
        await self._simulators.aclose()

    async def send(self, number: int) -> str:
        """One message; its id."""
        made = await self._poster.post(
            "/v1/messages",
            {
                "to": {"email": f"bench-{number}@example.test"},
                "template": {"key": TEMPLATE},
                "data": {"name": "Ann", "order": f"A-{number}", "total": "12.50"},
            },
            idempotency_key=str(uuid4()),
        )
        return str(made["id"])

    async def rate(self, *, count: int, at_once: int) -> float:
        """Messages a second, from the first request to the last arrival at the provider."""
        before = await self._arrived()
        began = time.perf_counter()
        await gather_bounded(count, at_once, self._send)

        async def arrived() -> bool:
            return await self._arrived() - before >= count

        await until(arrived)
        return count / (time.perf_counter() - began)

    async def latency(self, number: int) -> float:
        """Seconds from the request to the arrival at the provider, by the simulators' own clock of the same machine."""
        since = (await self._simulators.get("/control/stats")).json()["accepted"]
        began = time.monotonic()
        await self.send(number)
        return float((await self._first_after(since))["monotonic"]) - began

    async def sent(self, number: int) -> str:
        """One message that has its outcome; its id."""
        message = await self.send(number)

        async def closed() -> bool:
            return (await self.story(message))["outcome"] is not None

        await until(closed)
        return message

    async def story(self, message: str) -> dict[str, Any]:
        """The message as the API tells it."""
        answer = await self._api.get(f"/v1/messages/{message}")
        answer.raise_for_status()
        story: dict[str, Any] = answer.json()
        return story

    async def _send(self, number: int) -> None:
        await self.send(number)

    async def _arrived(self) -> int:
        return int((await self._simulators.get("/control/stats")).json()["accepted"])

    async def _first_after(self, since: int) -> dict[str, Any]:
        while True:
            answer = (await self._simulators.get("/control/log", params={"since": since})).json()
            if answer["entries"]:
                entry: dict[str, Any] = answer["entries"][0]
                return entry
            await asyncio.sleep(0.002)
