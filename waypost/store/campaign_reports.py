"""Reading a run: its recipients one by one, and by the domain they are at. As waypost_app, for one tenant.

A million recipients have no index but the ledger's own key (tenant, 'campaign', run, contact): pages go along it. Those
who were not sent to have one by outcome; pages of one such outcome go along that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import class_row, dict_row
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging.values import Outcome
from waypost.store.campaign_tables import CampaignRow, CampaignRunRow
from waypost.store.errors import NotFoundError
from waypost.store.tallies import Counts

Connection = AsyncConnection[Any]

LOOKED_AT = 10_000
"""Rows that one page looks at in search of those that were asked for."""
TOP_DOMAINS = 50
DOMAINS_TIMEOUT = timedelta(seconds=7)
SENT, OPEN = "sent", "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientFilter:
    """Which recipients. `outcome`: one of the ledger's, or "open" for those that have none yet."""

    outcome: str | None = None
    reason: str | None = None
    delivery: str | None = None
    flag: str | None = None
    """One of FLAGS that must be set."""
    variant: int | None = None

    @property
    def by_outcome(self) -> bool:
        """Whether pages go along the index of those who were not sent to."""
        return self.outcome not in (None, SENT, OPEN)

    @property
    def is_all(self) -> bool:
        """Whether nothing is left out."""
        return self == RecipientFilter()


FLAGS = ("machine_opened", "bounced", "complained", "undeliverable", "unsubscribed", "converted")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRow:
    """A recipient of a run. `contact` is None where the contact was deleted since."""

    id: UUID
    contact_id: UUID | None
    contact: str | None = field(repr=False)
    address: str = field(repr=False)
    phase: str
    hold_reason: str | None
    due_at: datetime | None
    outcome: str | None
    outcome_reason: str | None
    outcome_at: datetime | None
    variant: int | None
    delivery: str
    machine_opened: bool
    bounced: bool
    complained: bool
    undeliverable: bool
    unsubscribed: bool
    converted: bool


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """Some recipients, and the place after which the next page starts (None: this was the last)."""

    rows: Sequence[RecipientRow]
    next: UUID | None


_COLUMNS = """
m.id, m.contact_id, m.address, m.phase, m.hold_reason, m.due_at, m.outcome, m.outcome_reason, m.outcome_at, m.variant,
m.delivery, m.machine_opened, m.bounced, m.complained, m.undeliverable, m.unsubscribed, m.converted
"""

# Along the ledger's own key, or along the index of outcomes; either way a bounded number of rows is looked at. The
# place is one comparison, without an OR, so that a generic plan too begins there.
_BY_CONTACT = f"""
SELECT m.part AS place, {_COLUMNS} FROM messages m
WHERE m.tenant_id = %(tenant)s AND m.source = 'campaign' AND m.source_id = %(run)s
  AND m.part > COALESCE(%(after)s::text, '')
ORDER BY m.tenant_id, m.source, m.source_id, m.part LIMIT %(look)s
"""  # noqa: S608 - our own columns
_BY_OUTCOME = f"""
SELECT m.id::text AS place, {_COLUMNS} FROM messages m
WHERE m.run_id = %(run)s AND m.tenant_id = %(tenant)s AND m.outcome = %(outcome)s AND m.outcome <> 'sent'
  AND m.id > COALESCE(%(after)s::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY m.run_id, m.outcome, m.id LIMIT %(look)s
"""  # noqa: S608 - our own columns

_MATCHING = """
WITH looked AS MATERIALIZED ({looked}),
matching AS (
    SELECT row_number() OVER () AS number, l.* FROM looked l
    WHERE (%(outcome)s::text IS NULL OR COALESCE(l.outcome, 'open') = %(outcome)s)
      AND (%(reason)s::text IS NULL OR COALESCE(l.outcome_reason, l.hold_reason) = %(reason)s)
      AND (%(delivery)s::text IS NULL OR l.delivery = %(delivery)s)
      AND (%(flag)s::text IS NULL OR (to_jsonb(l) ->> %(flag)s)::boolean)
      AND (%(variant)s::int IS NULL OR l.variant = %(variant)s)
    LIMIT %(limit)s + 1
)
"""

# Each row comes with how many were looked at and the last of them, so that a page without a match still goes on.
_FOUND = """
SELECT l.last, m.place, m.id, m.contact_id, c.external_id AS contact, m.address, m.phase, m.hold_reason, m.due_at,
       m.outcome, m.outcome_reason, m.outcome_at, m.variant, m.delivery, m.machine_opened, m.bounced, m.complained,
       m.undeliverable, m.unsubscribed, m.converted
FROM (SELECT (SELECT place FROM looked OFFSET %(look)s - 1 LIMIT 1) AS last) l
LEFT JOIN matching m ON true
LEFT JOIN LATERAL (
    SELECT external_id FROM contacts WHERE tenant_id = %(tenant)s AND id = m.contact_id LIMIT 1) c ON true
ORDER BY m.number
"""


async def recipients(
    connection: Connection, *, tenant: UUID, run: UUID, which: RecipientFilter, after: UUID | None, limit: int
) -> RecipientPage:
    """The next recipients of a run. A page may hold fewer than `limit` and still not be the last."""
    looked = _BY_OUTCOME if which.by_outcome else _BY_CONTACT
    values = {
        "tenant": tenant,
        "run": run,
        "after": None if after is None else str(after),
        "look": limit + 1 if which.is_all else max(LOOKED_AT, limit + 1),
        "limit": limit,
        **{name: getattr(which, name) for name in ("outcome", "reason", "delivery", "flag", "variant")},
    }
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute((_MATCHING + _FOUND).replace("{looked}", looked), values)
        found = await cursor.fetchall()
    last, places = found[0]["last"], [row["place"] for row in found if row["place"] is not None]
    rows = [_recipient(row) for row in found[:limit] if row["place"] is not None]
    if len(places) > limit:
        return RecipientPage(rows, UUID(places[limit - 1]))
    return RecipientPage(rows, UUID(last) if last is not None else None)


def _recipient(row: dict[str, Any]) -> RecipientRow:
    return RecipientRow(**{name: value for name, value in row.items() if name not in ("last", "place")})


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCounts(Counts):
    """The counts of the recipients at one domain."""

    domain: str
    audience: int


_DOMAINS = f"""
SELECT lower(split_part(m.address, '@', 2)) AS domain, count(*) AS audience,
       {", ".join(f"count(*) FILTER (WHERE m.outcome = '{name}') AS {name}" for name in Outcome)},
       count(*) FILTER (WHERE m.delivery IN ('delivered', 'opened', 'clicked')) AS delivered,
       count(*) FILTER (WHERE m.delivery IN ('opened', 'clicked')) AS opened,
       count(*) FILTER (WHERE m.delivery = 'clicked') AS clicked,
       {", ".join(f"count(*) FILTER (WHERE m.{name}) AS {name}" for name in FLAGS)}
FROM messages m WHERE m.tenant_id = %(tenant)s AND m.source = 'campaign' AND m.source_id = %(run)s
GROUP BY 1 ORDER BY audience DESC, domain LIMIT {TOP_DOMAINS}
"""  # noqa: S608 - names of our own columns


async def counts_by_domain(connection: Connection, *, tenant: UUID, run: UUID) -> list[DomainCounts]:
    """A run's counts by the domain of the address, the largest first. Reads every row of the run."""
    await connection.execute(sql.SQL(_SLOW).format(sql.Literal(f"{DOMAINS_TIMEOUT.total_seconds():.0f}s")))
    async with connection.cursor(row_factory=class_row(DomainCounts)) as cursor:
        await cursor.execute(_DOMAINS, {"tenant": tenant, "run": run})
        return await cursor.fetchall()


_SLOW = "SET LOCAL statement_timeout = {}"


async def find_run(
    session: AsyncSession, tenant: UUID, key: str, number: int | None, *, mode: str
) -> tuple[CampaignRow, CampaignRunRow | None]:
    """A campaign of that mode and its run of that number, or its last one. Raises `NotFoundError`."""
    query = select(CampaignRow).where(col(CampaignRow.tenant_id) == tenant, col(CampaignRow.key) == key)
    campaign = (await session.exec(query)).one_or_none()
    if campaign is None or campaign.mode != mode:
        raise NotFoundError("campaign")
    run = (
        await session.exec(
            select(CampaignRunRow).where(
                col(CampaignRunRow.tenant_id) == tenant,
                col(CampaignRunRow.campaign_id) == campaign.id,
                col(CampaignRunRow.number) == (number or campaign.last_run),
            )
        )
    ).one_or_none()
    if run is None and number is not None:
        raise NotFoundError("run")
    return campaign, run


async def run_by_id(session: AsyncSession, tenant: UUID, run: UUID) -> CampaignRunRow:
    """A run as it is now. Raises `NotFoundError`."""
    row = await session.get(CampaignRunRow, (tenant, run))
    if row is None:
        raise NotFoundError("run")
    return row
