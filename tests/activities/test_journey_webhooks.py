"""The posts of webhook steps: what is posted, how often, and what is written down. With PostgreSQL, and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest

from activities.journey_webhooks import PAUSES, Webhooks
from tests.activities.sending_bench import Bench
from tests.store.journey_rows import add_contact, add_journey, document
from waypost.journeys.document import read_journey
from waypost.messaging import ids
from waypost.messaging.webhooks import Answer, signing_secret
from waypost.store.database import Database
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.journey_walks import load_enrollment

KEY, OLD_KEY = "k" * 32, "o" * 32
TAKEN = Answer(taken=True, code="200", again=False)
REFUSED = Answer(taken=False, code="404", again=False)
AWAY = Answer(taken=False, code="503", again=True)
HOOK: dict[str, Any] = {"kind": "webhook", "url": "https://a.example/", "data": {"b": 2, "c": 3}, "next": "end"}


@dataclass
class ScriptedPoster:
    """Answers always the same, and keeps what it was given."""

    answer: Answer
    bodies: list[dict[str, Any]] = field(default_factory=list)
    identities: list[UUID] = field(default_factory=list)
    secrets: list[Sequence[bytes]] = field(default_factory=list)

    async def post(self, url: str, body: bytes, *, identity: UUID, secrets: Sequence[bytes]) -> Answer:
        assert url == HOOK["url"]
        self.bodies.append(orjson.loads(body))
        self.identities.append(identity)
        self.secrets.append(secrets)
        return self.answer


class Hooked:
    """One enrollment that is at a webhook step."""

    def __init__(self, bench: Bench, app: Database, enrollment: UUID, said: dict[str, Any]) -> None:
        self.bench, self.app, self.enrollment, self.journey = bench, app, enrollment, read_journey(said)
        self.tenant = bench.ledger.tenant

    async def post(self, poster: ScriptedPoster, *, visit: int = 1) -> str:
        async with self.app.transaction(self.tenant) as connection:
            loaded = await load_enrollment(connection, tenant=self.tenant, enrollment=self.enrollment)
        assert loaded is not None
        webhooks = Webhooks(app=self.app, poster=poster, secret_key=KEY, previous=[OLD_KEY])
        return await webhooks.post(loaded, self.journey, visit=visit)

    async def place(self) -> dict[str, Any]:
        rows = await self.bench.ledger.execute("SELECT place FROM enrollments WHERE id = %s", (self.enrollment,))
        place: dict[str, Any] = rows[0]["place"]
        return place

    async def why(self) -> dict[str, Any]:
        rows = await self.bench.ledger.execute(
            "SELECT why FROM enrollment_visits WHERE enrollment_id = %s", (self.enrollment,)
        )
        why: dict[str, Any] = rows[0]["why"]
        return why


async def hooked(bench: Bench, app: Database, **fields: Any) -> Hooked:
    ledger = bench.ledger
    said = document("hooked", start="h", steps={"h": {**HOOK, **fields}, **EXTRA[bool(fields)]})
    journey = await add_journey(ledger, said)
    contact = await add_contact(ledger, "ann")
    entrance = Entrance(journey=journey, contact=contact, source="api", data={"a": 1, "b": 1})
    async with app.transaction(ledger.tenant) as connection:
        (answer,) = await enter(connection, tenant=ledger.tenant, entrances=[entrance])
    assert isinstance(answer, Entered)
    await ledger.execute("UPDATE enrollments SET step = 'h', visits = 1 WHERE id = %s", (answer.enrollment,))
    await ledger.insert(
        "enrollment_visits",
        tenant_id=ledger.tenant,
        enrollment_id=answer.enrollment,
        number=1,
        step="h",
        kind="webhook",
        entered_at="2026-01-01",
    )
    return Hooked(bench, app, answer.enrollment, said)


EXTRA: dict[bool, dict[str, Any]] = {False: {}, True: {"x": {"kind": "exit", "reason": "out"}}}


async def test_what_is_carried_is_posted_with_the_steps_own_and_signed_with_both_secrets(
    bench: Bench, app: Database
) -> None:
    at = await hooked(bench, app)
    poster = ScriptedPoster(TAKEN)
    assert await at.post(poster) == "200"
    assert poster.bodies == [
        {
            "journey": "hooked",
            "enrollment": str(at.enrollment),
            "step": "h",
            "visit": 1,
            "contact": "ann",
            "data": {"a": 1, "b": 2, "c": 3},
        }
    ]
    assert poster.identities == [ids.visit_id(enrollment=at.enrollment, number=1)]
    assert poster.secrets == [[signing_secret(KEY, at.tenant), signing_secret(OLD_KEY, at.tenant)]]
    assert (await at.place(), await at.why()) == ({"answer": "next"}, {"code": "200", "taken": True, "tries": 1})


@pytest.mark.parametrize(("fields", "edge"), [({}, "next"), ({"on_failure": "x"}, "on_failure")])
async def test_what_is_refused_is_not_tried_again(
    bench: Bench, app: Database, fields: dict[str, Any], edge: str
) -> None:
    at = await hooked(bench, app, **fields)
    assert await at.post(ScriptedPoster(REFUSED)) == "404"
    assert (await at.place(), await at.why()) == ({"answer": edge}, {"code": "404", "taken": False, "tries": 1})


async def test_who_is_away_is_tried_again_after_growing_pauses_and_then_given_up(bench: Bench, app: Database) -> None:
    at = await hooked(bench, app, on_failure="x")
    poster = ScriptedPoster(AWAY)
    for tries, pause in enumerate(PAUSES, 1):
        await at.post(poster)
        place = await at.place()
        (row,) = await bench.ledger.execute("SELECT %s::timestamptz - waypost_now() AS left", (place["try_at"],))
        assert place["tries"] == tries
        assert pause - timedelta(seconds=30) < row["left"] <= pause
    await at.post(poster)
    assert await at.place() == {"answer": "on_failure"}
    assert await at.why() == {"code": "503", "taken": False, "tries": len(PAUSES) + 1}
    assert len(set(poster.identities)) == 1


async def test_a_post_of_which_nothing_was_written_is_posted_again_under_the_same_id(
    bench: Bench, app: Database
) -> None:
    at = await hooked(bench, app)
    poster = ScriptedPoster(TAKEN)
    await at.post(poster)
    await bench.ledger.execute("UPDATE enrollments SET place = '{}' WHERE id = %s", (at.enrollment,))
    await at.post(poster)
    assert len(poster.identities) == 2
    assert len(set(poster.identities)) == 1


@pytest.mark.parametrize(
    "happened",
    [
        "UPDATE enrollments SET visits = 2 WHERE id = %(enrollment)s",
        "UPDATE enrollments SET step = NULL WHERE id = %(enrollment)s",
        "UPDATE enrollments SET state = 'ended', how = 'goal', ended_at = now() WHERE id = %(enrollment)s",
        "DELETE FROM contacts WHERE tenant_id = %(tenant)s",
        "UPDATE tenants SET state = 'suspended' WHERE id = %(tenant)s",
        "UPDATE tenants SET state = 'closing' WHERE id = %(tenant)s",
    ],
)
async def test_who_has_moved_on_is_not_posted(bench: Bench, app: Database, happened: str) -> None:
    at = await hooked(bench, app)
    await bench.ledger.execute(happened, {"enrollment": at.enrollment, "tenant": at.tenant})
    poster = ScriptedPoster(TAKEN)
    assert await at.post(poster) == "moved_on"
    assert poster.bodies == []
    assert "answer" not in await at.place()
