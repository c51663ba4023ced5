"""A journey is paused, goes on, and is put away. In the caller's session; nothing here commits."""

from uuid import UUID

from sqlalchemy import text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.journeys.happenings import OnResume
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.journey_tables import JourneyPauseRow, JourneyRow
from waypost.store.journeys import note

Session = AsyncSession

_FIRST = UUID(int=0)


async def lock_journey(session: Session, tenant: UUID, key: str, *, mode: str) -> JourneyRow:
    """A journey, locked: who publishes, pauses or archives comes one after the other. Raises `NotFoundError`."""
    query = select(JourneyRow).where(
        col(JourneyRow.tenant_id) == tenant, col(JourneyRow.key) == key, col(JourneyRow.mode) == mode
    )
    row = (await session.exec(query.with_for_update())).one_or_none()
    if row is None:
        raise NotFoundError("journey")
    return row


def not_published() -> ConflictError:
    """A draft has no people."""
    return ConflictError("This journey is a draft: publish it first.", code="journey_not_published")


def archived() -> ConflictError:
    """What is put away does not move."""
    return ConflictError("This journey is archived; publish it to open it again.", code="journey_archived")


async def pause(session: Session, journey: JourneyRow, *, actor: str) -> None:
    """Hold everybody where they are; who comes in waits. Said twice, it is said once. Raises `ConflictError`."""
    _require_living(journey)
    if journey.state == "paused":
        return
    journey.pauses += 1
    journey.state, journey.updated_at = "paused", NOW
    session.add(JourneyPauseRow(tenant_id=journey.tenant_id, journey_id=journey.id, number=journey.pauses))
    session.add(note(journey, action="paused", actor=actor, detail={"pause": journey.pauses}))
    await session.flush()


async def resume(session: Session, journey: JourneyRow, policy: OnResume, *, actor: str) -> None:
    """Go on after a pause; a loop wakes those whom it held. Raises `ConflictError`."""
    _require_living(journey)
    if journey.state == "active":
        return
    await end_last_pause(session, journey, policy)
    journey.state, journey.updated_at = "active", NOW
    detail = {"pause": journey.pauses, "policy": policy.value}
    session.add(note(journey, action="resumed", actor=actor, detail=detail))
    await session.flush()


async def end_last_pause(session: Session, journey: JourneyRow, policy: OnResume) -> None:
    """Let go on whom a pause holds, if one does. Who is to be removed is told before: it holds nobody then."""
    query = select(JourneyPauseRow).where(
        col(JourneyPauseRow.tenant_id) == journey.tenant_id,
        col(JourneyPauseRow.journey_id) == journey.id,
        col(JourneyPauseRow.resumed_at).is_(None),
    )
    row = (await session.exec(query)).one_or_none()
    if row is not None:
        row.resumed_at, row.policy, row.woken_until = NOW, policy.value, _FIRST


def _require_living(journey: JourneyRow) -> None:
    if journey.state == "draft":
        raise not_published()
    if journey.state == "archived":
        raise archived()


_STILL_WATCHES = text(
    "SELECT true FROM enrollments e JOIN journey_versions v ON v.tenant_id = e.tenant_id AND v.id = e.version_id"
    " WHERE v.tenant_id = :tenant AND v.journey_id = :journey AND v.conditions AND e.state = 'open' LIMIT 1"
)


_FORGET_WATCHED = text("DELETE FROM journey_watched WHERE tenant_id = :tenant AND journey_id = :journey")


async def archive(session: Session, journey: JourneyRow, *, actor: str, remove: bool) -> None:
    """Let nobody in any more. A pause that holds somebody is ended by `end_last_pause`. Raises `ConflictError`."""
    if journey.state == "draft":
        raise not_published()
    if journey.state == "archived":
        return
    connection = await session.connection()
    values = {"tenant": journey.tenant_id, "journey": journey.id}
    await connection.execute(_FORGET_WATCHED, values)
    watches = (await connection.execute(_STILL_WATCHES, values)).scalar_one_or_none()
    journey.state, journey.updated_at = "archived", NOW
    journey.entry_kind, journey.entry_event, journey.next_entry_at = None, None, None
    journey.watches_contacts = bool(watches)
    session.add(note(journey, action="archived", actor=actor, detail={"remove": remove}))
    await session.flush()
