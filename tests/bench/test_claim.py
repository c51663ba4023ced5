"""The claim bench measures what it says: each claim takes, in both arms, in a small plan of the whole thing."""

from __future__ import annotations

import contextlib

import pytest

from tests import services
from waypost.bench import claim
from waypost.stack.postgres import PostgresServer


async def test_every_message_is_claimed_in_both_arms_and_under_an_open_transaction(
    postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "SMALL", 500)
    told: list[str] = []
    with contextlib.ExitStack() as owners:
        found = await claim.measure(
            postgres_server,
            services.ROLE_PASSWORDS,
            owners,
            claim.Plan(messages=2_000, sent=200, claims=20),
            told.append,
        )
    for name in ("small", "large"):
        postgres_server.drop_database(name)
    checks = {check.name: check for check in found.checks}
    assert len(checks) == 8
    assert checks["messages that were not claimed"].ok
    assert checks["claims of each kind and arm"].value == 20
    assert sum("p99 over 500's" in name for name in checks) == 6
