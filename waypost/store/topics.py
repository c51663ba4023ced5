"""Topics: what contacts can subscribe to and leave; their words are in subscriptions.py. Nothing here commits."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.messaging.values import RunState, Subscription
from waypost.store.campaign_tables import CampaignRunRow, TopicRow, TopicSubscriptionRow
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.segments import refuse_while_referred
from waypost.store.tables import TemplateRow, TenantRow

MAX_TOPICS = 100
"""A tenant's; a page for people shows them all."""

_OVER = (RunState.COMPLETED.value, RunState.CANCELLED.value)


async def put_topic(session: AsyncSession, tenant: UUID, key: str, said: Mapping[str, Any]) -> TopicRow:
    """Make or replace a topic; `said` are columns. Raises `ConflictError` where there are MAX_TOPICS others."""
    topic = ids.topic_id(tenant=tenant, key=key)
    others = select(func.count()).where(col(TopicRow.tenant_id) == tenant, col(TopicRow.id) != topic)
    if (await session.exec(others)).one() >= MAX_TOPICS:
        raise ConflictError(f"A tenant has {MAX_TOPICS} topics at most; replace one.", code="too_many_topics")
    await session.exec(
        insert(TopicRow)
        .values(tenant_id=tenant, id=topic, key=key, **said)
        .on_conflict_do_update(index_elements=["tenant_id", "key"], set_={**said, "updated_at": NOW})
    )
    return await get_topic(session, tenant, key)


async def get_topic(session: AsyncSession, tenant: UUID, key: str) -> TopicRow:
    """One topic. Raises `NotFoundError`."""
    row = await session.get(TopicRow, (tenant, ids.topic_id(tenant=tenant, key=key)))
    if row is None:
        raise NotFoundError("topic")
    return row


async def list_topics(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[TopicRow]:
    """A tenant's topics in the order they were made."""
    query = select(TopicRow).where(col(TopicRow.tenant_id) == tenant)
    return await fetch_page(session, query, TopicRow, after=after, limit=limit)


async def delete_topic(session: AsyncSession, tenant: UUID, key: str) -> None:
    """Forget a topic that nobody has left and no open campaign or segment uses, with its subscriptions.

    Made again later, a topic that had forgotten who left would be sent to them. Raises `NotFoundError`,
    `ConflictError`.
    """
    topic = ids.topic_id(tenant=tenant, key=key)
    found = select(TopicRow).where(col(TopicRow.tenant_id) == tenant, col(TopicRow.id) == topic)
    # Whoever says a word on it holds FOR KEY SHARE: this waits for them, and they for this.
    row = (await session.exec(found.with_for_update())).one_or_none()
    if row is None:
        raise NotFoundError("topic")
    await _refuse_in_use(session, tenant, topic)
    await refuse_while_referred(session, tenant, kind="topic", key=key)
    words = delete(TopicSubscriptionRow).where(
        col(TopicSubscriptionRow.tenant_id) == tenant, col(TopicSubscriptionRow.topic_id) == topic
    )
    await session.exec(words)
    await session.delete(row)


async def _refuse_in_use(session: AsyncSession, tenant: UUID, topic: UUID) -> None:
    word, run = TopicSubscriptionRow, CampaignRunRow
    left = select(word.contact_id).where(
        col(word.tenant_id) == tenant, col(word.topic_id) == topic, col(word.state) == Subscription.UNSUBSCRIBED.value
    )
    if (await session.exec(left.limit(1))).first() is not None:
        advice = "Contacts have left this topic, and their word must be kept; rename it, or make another."
        raise ConflictError(advice, code="topic_in_use")
    sending = select(run.id).where(
        col(run.tenant_id) == tenant, col(run.topic_id) == topic, col(run.state).not_in(_OVER)
    )
    if (await session.exec(sending.limit(1))).first() is not None:
        raise ConflictError("A campaign that has not ended uses this topic; cancel it first.", code="topic_in_use")


async def confirmation_template(session: AsyncSession, tenant: UUID) -> str | None:
    """The key of the template that asks for a confirmation; None: the built-in one does."""
    query = (
        select(TemplateRow.key)
        .join(TenantRow, col(TenantRow.double_opt_in_template) == col(TemplateRow.id))
        .where(col(TenantRow.id) == tenant, col(TemplateRow.tenant_id) == tenant)
    )
    return (await session.exec(query)).one_or_none()
