"""The status page of a process that is no HTTP service."""

from __future__ import annotations

import asyncio

import httpx

from waypost.serving import StatusServer
from waypost.stack.ports import free_port


async def test_it_says_whether_the_process_lives_is_ready_and_counts() -> None:
    port, missing = free_port(), ["waiting for Temporal"]
    server = StatusServer(lambda: missing[0] if missing else None, host="127.0.0.1", port=port)
    server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert await _until_up(client) == "ok\n"
        not_ready = await client.get("/readyz")
        assert (not_ready.status_code, not_ready.text) == (503, "waiting for Temporal\n")
        missing.clear()
        assert (await client.get("/readyz")).status_code == 200
        metrics = await client.get("/metrics")
        assert "python_info" in metrics.text
        assert (await client.get("/anything")).status_code == 404
    await server.close()


async def test_closing_before_it_was_started_is_nothing() -> None:
    await StatusServer(lambda: None, host="127.0.0.1", port=0).close()


async def _until_up(client: httpx.AsyncClient) -> str:
    async with asyncio.timeout(5):
        while True:
            try:
                return (await client.get("/healthz")).text
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
