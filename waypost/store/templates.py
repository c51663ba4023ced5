"""Templates and their immutable versions. Nothing here commits."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging import ids
from waypost.messaging.values import Channel
from waypost.store.columns import NOW
from waypost.store.errors import ConflictError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.tables import TemplateRow, TemplateVersionRow, TenantRow


@dataclass(frozen=True, slots=True)
class VersionedTemplate:
    """A template and one of its versions."""

    template: TemplateRow
    version: TemplateVersionRow


async def put_template(
    session: AsyncSession, tenant: UUID, key: str, *, channel: Channel, content: dict[str, Any], content_hash: bytes
) -> VersionedTemplate:
    """The template with this content as its current version: a new one, or the one it has if the content is the same.

    Raises `ConflictError` where the template is of another channel.
    """
    template = await _lock_template(session, tenant, key, channel)
    current = await session.get(TemplateVersionRow, (tenant, template.id, template.current_version))
    if current is not None and current.content_hash == content_hash:
        return VersionedTemplate(template, current)
    fresh = TemplateVersionRow(
        tenant_id=tenant,
        template_id=template.id,
        version=template.current_version + 1,
        content=content,
        content_hash=content_hash,
    )
    session.add(fresh)
    template.current_version = fresh.version
    template.updated_at = NOW
    await session.flush()
    await session.refresh(template)
    return VersionedTemplate(template, fresh)


async def _lock_template(session: AsyncSession, tenant: UUID, key: str, channel: Channel) -> TemplateRow:
    """The template of this key, made if need be (as version 0, which has no content), locked against other writers."""
    made = {"tenant_id": tenant, "id": ids.template_id(tenant=tenant, key=key), "key": key, "channel": channel.value}
    await session.exec(insert(TemplateRow).values(**made, current_version=0).on_conflict_do_nothing())
    query = select(TemplateRow).where(col(TemplateRow.tenant_id) == tenant, col(TemplateRow.key) == key)
    row = (await session.exec(query.with_for_update())).one()
    if row.channel != channel:
        raise ConflictError(
            f"This template is of the channel {row.channel}, which never changes; use another key.",
            code="template_channel",
            field="channel",
        )
    return row


async def get_template(session: AsyncSession, tenant: UUID, key: str, version: int | None = None) -> VersionedTemplate:
    """A template in its current or another version. Raises `NotFoundError`."""
    query = select(TemplateRow).where(col(TemplateRow.tenant_id) == tenant, col(TemplateRow.key) == key)
    template = (await session.exec(query)).one_or_none()
    if template is None:
        raise NotFoundError("template")
    row = await session.get(TemplateVersionRow, (tenant, template.id, version or template.current_version))
    if row is None:
        raise NotFoundError("template version")
    return VersionedTemplate(template, row)


async def list_templates(session: AsyncSession, tenant: UUID, *, after: Place | None, limit: int) -> Page[TemplateRow]:
    """A tenant's templates in the order they were made."""
    query = select(TemplateRow).where(col(TemplateRow.tenant_id) == tenant)
    return await fetch_page(session, query, TemplateRow, after=after, limit=limit)


async def list_versions(
    session: AsyncSession, tenant: UUID, key: str, *, after: Place | None, limit: int
) -> tuple[list[TemplateVersionRow], Place | None]:
    """A template's versions from the first on. A place's id stands for the number. Raises `NotFoundError`."""
    template = (await get_template(session, tenant, key)).template
    row = TemplateVersionRow
    query = select(row).where(col(row.tenant_id) == tenant, col(row.template_id) == template.id)
    if after is not None:
        query = query.where(col(row.version) > min(after.id.int, _MAX_VERSION))
    rows = list((await session.exec(query.order_by(col(row.version)).limit(limit + 1))).all())
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], Place(rows[limit - 1].created_at, UUID(int=rows[limit - 1].version))


_MAX_VERSION = 2**31 - 1


async def tenant_name(session: AsyncSession, tenant: UUID) -> str:
    """What templates print as `tenant.name`."""
    return (await session.exec(select(TenantRow.name).where(col(TenantRow.id) == tenant))).one()
