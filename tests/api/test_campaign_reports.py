"""What the API tells of a run: its recipients, its report, and how it goes."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest_asyncio

from api.app import create_app
from tests.api.campaign_fixtures import end, happen, prepare, scheduled, set_run, tenant_with_contacts
from tests.api.running import Api, Tenant, app_settings, ok, problem
from tests.api.serving import serving
from tests.services import Database

VARIANTS = [{"name": "plain", "template": "news"}, {"name": "loud", "template": "news"}]


@dataclass(frozen=True)
class Run:
    tenant: Tenant
    id: UUID
    database: Database

    async def recipients(self, **query: Any) -> list[dict[str, Any]]:
        """All of them, page by page."""
        rows: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await ok(self.tenant.client.get("/v1/campaigns/news/recipients", params={**query, **cursor}))
            rows += page["data"]
            if page["next_cursor"] is None:
                return rows
            cursor = {"cursor": page["next_cursor"]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(api: Api, module_database: Database) -> AsyncIterator[Run]:
    """Ten recipients of two variants, of whom seven have their outcome."""
    tenant = await tenant_with_contacts(api, "reports")
    identity = await scheduled(tenant, "news", template=None, variants=VARIANTS)
    await prepare(module_database, tenant.id, identity)
    for contact in ("c-0", "c-1", "c-2", "c-3"):
        end(module_database, identity, contact, "sent")
    happen(module_database, identity, "c-0", "delivery = 'clicked', machine_opened = true")
    happen(module_database, identity, "c-1", "delivery = 'delivered', unsubscribed = true")
    happen(module_database, identity, "c-2", "bounced = true")
    end(module_database, identity, "c-4", "suppressed", "bounce")
    end(module_database, identity, "c-5", "failed", "render_failed")
    end(module_database, identity, "c-6", "failed", "rejected")
    yield Run(tenant, identity, module_database)


async def test_every_recipient_is_listed_once_whatever_the_size_of_the_page(run: Run) -> None:
    for limit in (1, 3, 10, 200):
        rows = await run.recipients(limit=limit)
        assert sorted(row["contact"] for row in rows) == [f"c-{n}" for n in range(10)]


async def test_a_recipient_is_shown_with_its_reason_variant_and_what_was_reported(run: Run) -> None:
    rows = {row["contact"]: row for row in await run.recipients()}
    assert rows["c-0"]["address"] == "c0@b.example"
    assert rows["c-0"]["outcome"] == "sent"
    assert (rows["c-0"]["delivery"], rows["c-0"]["machine_opened"]) == ("clicked", True)
    assert (rows["c-4"]["outcome"], rows["c-4"]["reason"]) == ("suppressed", "bounce")
    assert (rows["c-7"]["outcome"], rows["c-7"]["reason"]) == (None, None)
    assert {row["variant"] for row in rows.values()} <= {"plain", "loud"}


async def test_recipients_are_filtered_by_outcome_reason_delivery_flag_and_variant(run: Run) -> None:
    async def contacts(**query: Any) -> set[str]:
        return {row["contact"] for row in await run.recipients(limit=1, **query)}

    assert await contacts(outcome="failed") == {"c-5", "c-6"}
    assert await contacts(outcome="failed", reason="rejected") == {"c-6"}
    assert await contacts(reason="render_failed") == {"c-5"}
    assert await contacts(outcome="open") == {"c-7", "c-8", "c-9"}
    assert await contacts(outcome="sent") == {"c-0", "c-1", "c-2", "c-3"}
    assert await contacts(delivery="clicked") == {"c-0"}
    assert await contacts(flag="bounced") == {"c-2"}
    both = [await contacts(variant="plain"), await contacts(variant="loud")]
    assert set.union(*both) == {f"c-{n}" for n in range(10)}
    assert not set.intersection(*both)


async def test_a_filter_or_cursor_that_is_none_is_refused(run: Run) -> None:
    get = run.tenant.client.get
    place = "/v1/campaigns/news/recipients"
    await problem(get(place, params={"variant": "quiet"}), 422, "validation_failed")
    page = await ok(get(place, params={"limit": 1}))
    other = {"cursor": page["next_cursor"], "outcome": "failed"}
    await problem(get(place, params=other), 422, "invalid_cursor")
    await problem(get(place, params={"cursor": "AAAA"}), 422, "invalid_cursor")


async def test_all_recipients_are_exported_as_csv(run: Run) -> None:
    answer = await run.tenant.client.get("/v1/campaigns/news/recipients", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["contact"] for row in rows} == {f"c-{n}" for n in range(10)}
    suppressed = next(row for row in rows if row["contact"] == "c-4")
    assert (suppressed["outcome"], suppressed["reason"], suppressed["bounced"]) == ("suppressed", "bounce", "false")


async def test_the_report_adds_up_by_variant_domain_and_time(run: Run) -> None:
    report = await ok(run.tenant.client.get("/v1/campaigns/news/report"))
    counts = report["run"]["counts"]
    assert (counts["sent"], counts["failed"], counts["suppressed"]) == (4, 2, 1)
    assert (counts["delivered"], counts["clicked"], counts["machine_opened"]) == (2, 1, 1)
    assert report["run"]["open"] == 3
    for table in ("variants", "domains", "series"):
        for name in ("sent", "failed", "bounced", "clicked", "unsubscribed"):
            assert sum(row[name] for row in report[table]) == counts[name], (table, name)
    assert {row["domain"]: row["audience"] for row in report["domains"]} == {"a.example": 5, "b.example": 5}
    assert {row["variant"] for row in report["variants"]} <= {"plain", "loud"}


async def test_each_table_of_the_report_is_to_be_had_as_csv(run: Run) -> None:
    for table, key in (("totals", "run"), ("variants", "variant"), ("domains", "domain"), ("series", "at")):
        query = {"table": table, "format": "csv"}
        answer = await run.tenant.client.get("/v1/campaigns/news/report", params=query)
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert all(row[key] for row in rows), table
        assert sum(int(row["sent"]) for row in rows) == 4


async def test_a_draft_and_a_run_that_is_not_there_have_no_report(api: Api) -> None:
    tenant = await tenant_with_contacts(api, "drafts", contacts=1)
    await problem(tenant.client.get("/v1/campaigns/none/report"), 404, "not_found")
    await scheduled(tenant, "news")
    await ok(tenant.client.get("/v1/campaigns/news/report", params={"run": 1}))
    await problem(tenant.client.get("/v1/campaigns/news/report", params={"run": 2}), 404, "not_found")


async def test_an_event_of_the_campaigns_name_after_the_send_is_a_conversion_once(
    api: Api, module_database: Database
) -> None:
    tenant = await tenant_with_contacts(api, "conversions", contacts=3)
    identity = await scheduled(tenant, "news", conversion_event="bought")
    await prepare(module_database, tenant.id, identity)
    for contact in ("c-0", "c-1"):
        end(module_database, identity, contact, "sent")
    told: list[tuple[str, str, str, str | None]] = [
        ("1", "c-0", "bought", None),
        ("2", "c-0", "bought", None),
        ("3", "c-1", "looked", None),
    ]
    told += [("4", "c-1", "bought", "2020-01-01T00:00:00Z"), ("5", "c-2", "bought", None)]
    events = [{"id": number, "contact": contact, "name": name} for number, contact, name, _ in told]
    events = [one if at is None else {**one, "occurred_at": at} for one, (*_, at) in zip(events, told, strict=True)]
    for _ in range(2):
        await ok(tenant.client.post("/v1/events/batch", json={"events": events}))
    listed = await ok(tenant.client.get("/v1/campaigns/news/recipients", params={"flag": "converted"}))
    assert [row["contact"] for row in listed["data"]] == ["c-0"]
    shown = await ok(tenant.client.get("/v1/campaigns/news"))
    assert shown["run"]["counts"]["converted"] == 1


async def test_another_tenants_run_is_not_there(run: Run, api: Api) -> None:
    stranger = await api.tenant()
    for what in ("", "/recipients", "/report", "/progress"):
        await problem(stranger.client.get(f"/v1/campaigns/news{what}"), 404, "not_found")
    for action in ("schedule", "pause", "resume", "cancel", "approve", "resend-failed"):
        await problem(stranger.client.post(f"/v1/campaigns/news/{action}"), 404, "not_found")


async def test_progress_is_told_when_it_changes_and_ends_with_the_run(run: Run) -> None:
    events: list[tuple[str, Any]] = []
    begun = threading.Event()

    def watch(url: str) -> None:
        with (
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {run.tenant.key}"}, timeout=20) as client,
            client.stream("GET", "/v1/campaigns/news/progress") as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            for event in _events(answer):
                events.append(event)
                begun.set()

    with serving(create_app(app_settings(run.database))) as url:
        watcher = threading.Thread(target=watch, args=(url,))
        watcher.start()
        assert begun.wait(5)
        for contact in ("c-7", "c-8", "c-9"):
            end(run.database, run.id, contact, "sent")
        set_run(run.database, run.id, "state = 'completed', ended_at = waypost_now()")
        watcher.join(10)
    assert [kind for kind, _ in events][-1] == "end"
    assert events[0][1]["open"] == 3
    assert (events[-1][1]["open"], events[-1][1]["state"]) == (0, "completed")


async def test_only_so_many_watch_at_once(run: Run, api: Api) -> None:
    streams = api.app.state.services.streams
    open_ones = [streams.watching(run.tenant.id) for _ in range(20)]
    for one in open_ones:
        one.__enter__()
    try:
        await problem(run.tenant.client.get("/v1/campaigns/news/progress"), 429, "streams_full")
    finally:
        for one in open_ones:
            one.__exit__(None, None, None)
    answer = await run.tenant.client.get("/v1/campaigns/news/progress")
    assert answer.text.endswith("\n\n")
    assert streams.open == 0


def _events(answer: httpx.Response) -> Any:
    kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
