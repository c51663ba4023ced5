"""Journeys as their tenant keeps them: a draft, its published versions, what was done to it. Nothing here commits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import column, text
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.journey_tables import EnrollmentRow, JourneyAuditRow, JourneyRow, JourneyVersionRow
from waypost.store.pages import Page, Place, fetch_page

Session = AsyncSession

_MAX_NUMBER = 2**31 - 1


async def put_draft(
    session: Session, tenant: UUID, key: str, *, name: str, mode: str, draft: str
) -> tuple[JourneyRow, bool]:
    """Make a journey or give it another draft; whether it is new. What is published goes on as it is.

    Raises `ConflictError` for a key that a journey of the other mode has.
    """
    row = await _find(session, tenant, key, lock=True)
    new = row is None
    if row is None:
        row = JourneyRow(
            tenant_id=tenant, id=ids.journey_id(tenant=tenant, key=key), key=key, name=name, mode=mode, draft=draft
        )
        session.add(row)
    elif row.mode != mode:
        raise ConflictError(f"There is a journey of that key for {row.mode} keys.", code="name_taken", field="key")
    elif row.draft != draft:
        row.name, row.draft, row.updated_at = name, draft, NOW
        row.draft_revision += 1
    await session.flush()
    await session.refresh(row)
    return row, new


async def get_journey(session: Session, tenant: UUID, key: str, *, mode: str) -> JourneyRow:
    """One journey. Raises `NotFoundError`, also for one of the other mode: no test key moves a live one."""
    row = await _find(session, tenant, key, lock=False)
    if row is None or row.mode != mode:
        raise NotFoundError("journey")
    return row


async def list_journeys(
    session: Session, tenant: UUID, *, mode: str, after: Place | None, limit: int
) -> Page[JourneyRow]:
    """A tenant's journeys of a mode, in the order they were made."""
    query = select(JourneyRow).where(col(JourneyRow.tenant_id) == tenant, col(JourneyRow.mode) == mode)
    return await fetch_page(session, query, JourneyRow, after=after, limit=limit)


async def delete_draft(session: Session, tenant: UUID, key: str, *, mode: str) -> None:
    """Forget a journey that was never published. Raises `NotFoundError`, `ConflictError`."""
    row = await _find(session, tenant, key, lock=True)
    if row is None or row.mode != mode:
        raise NotFoundError("journey")
    if row.entering:
        raise ConflictError(
            "This journey was published: what came of it is kept. Archive it instead.", code="journey_published"
        )
    await session.delete(row)


async def _find(session: Session, tenant: UUID, key: str, *, lock: bool) -> JourneyRow | None:
    query = select(JourneyRow).where(col(JourneyRow.tenant_id) == tenant, col(JourneyRow.key) == key)
    if lock:
        query = query.with_for_update()
    return (await session.exec(query)).one_or_none()


async def get_version(session: Session, journey: JourneyRow, number: int) -> JourneyVersionRow:
    """A published version. Raises `NotFoundError`."""
    row = await session.get(
        JourneyVersionRow, (journey.tenant_id, ids.journey_version_id(journey=journey.id, number=number))
    )
    if row is None:
        raise NotFoundError("version of this journey")
    return row


async def list_versions(
    session: Session, journey: JourneyRow, *, after: Place | None, limit: int
) -> tuple[list[JourneyVersionRow], Place | None]:
    """What was published, from the first on. A place's id stands for the number."""
    row = JourneyVersionRow
    query = select(row).where(col(row.tenant_id) == journey.tenant_id, col(row.journey_id) == journey.id)
    if after is not None:
        query = query.where(col(row.number) > min(after.id.int, _MAX_NUMBER))
    rows = list((await session.exec(query.order_by(col(row.number)).limit(limit + 1))).all())
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Place(rows[limit - 1].published_at, UUID(int=rows[limit - 1].number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Where a journey's people are. `waiting`: they are in it, and have not taken a step yet."""

    steps: Mapping[str, int]
    waiting: int
    endings: Mapping[str, int]

    @property
    def open(self) -> int:
        """All who are in it."""
        return sum(self.steps.values()) + self.waiting


_COUNTS = text(
    "SELECT state, COALESCE(how, step), count(*) FROM enrollments WHERE tenant_id = :tenant AND journey_id = :journey"
    " GROUP BY 1, 2"
).columns(column("state"), column("at"), column("count"))


async def count_people(session: Session, journey: JourneyRow) -> Counts:
    """Who is at which step now, and how many have left in which way."""
    connection = await session.connection()
    found = (await connection.execute(_COUNTS, {"tenant": journey.tenant_id, "journey": journey.id})).all()
    open_ones = {at: count for state, at, count in found if state == "open"}
    return Counts(
        steps={at: count for at, count in sorted(open_ones.items(), key=str) if at is not None},
        waiting=open_ones.get(None, 0),
        endings={at: count for state, at, count in sorted(found, key=str) if state == "ended"},
    )


async def count_open(session: Session, journey: JourneyRow) -> Mapping[int, int]:
    """How many are in each version, by its number; versions without anybody are left out."""
    person, version = EnrollmentRow, JourneyVersionRow
    query = (
        select(version.number, func.count())
        .join(
            person,
            (col(person.tenant_id) == col(version.tenant_id)) & (col(person.version_id) == col(version.id)),
        )
        .where(
            col(version.tenant_id) == journey.tenant_id,
            col(version.journey_id) == journey.id,
            col(person.state) == "open",
        )
        .group_by(col(version.number))
    )
    return dict((await session.exec(query)).all())


async def list_audit(
    session: Session,
    journey: JourneyRow,
    *,
    enrollment: UUID | None,
    after: Place | None,
    limit: int,
) -> tuple[Sequence[JourneyAuditRow], Place | None]:
    """Who did what, in order. A place's id stands for the row's number."""
    row = JourneyAuditRow
    query = select(row).where(col(row.tenant_id) == journey.tenant_id, col(row.journey_id) == journey.id)
    if enrollment is not None:
        query = query.where(col(row.enrollment_id) == enrollment)
    if after is not None:
        query = query.where(col(row.id) > min(after.id.int, 2**63 - 1))
    rows = (await session.exec(query.order_by(col(row.id)).limit(limit + 1))).all()
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Place(rows[limit - 1].at, UUID(int=rows[limit - 1].id or 0))


def note(journey: JourneyRow, *, action: str, actor: str, detail: Mapping[str, Any] | None = None) -> JourneyAuditRow:
    """A row that says who did what to a journey; for `session.add`."""
    return JourneyAuditRow(
        tenant_id=journey.tenant_id, journey_id=journey.id, action=action, actor=actor, detail=dict(detail or {})
    )
