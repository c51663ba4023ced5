"""A template's version as acceptance needs it: which one is current, what it says."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from waypost.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateVersion:
    """One version of a template. `content` None: the template exists, the version that was asked for does not."""

    version: int
    channel: str
    content: dict[str, Any] | None


_VERSION = """
SELECT COALESCE(%(version)s, t.current_version) AS version, t.channel, v.content
FROM templates t
LEFT JOIN template_versions v ON v.tenant_id = t.tenant_id AND v.template_id = t.id
    AND v.version = COALESCE(%(version)s, t.current_version)
WHERE t.tenant_id = %(tenant)s AND t.id = %(template)s
"""


async def template_version(
    database: Database, *, tenant: UUID, template: UUID, version: int | None
) -> TemplateVersion | None:
    """A version of a template, the current one for None; None where the tenant has no such template."""
    async with database.transaction(tenant) as connection:
        cursor = connection.cursor(row_factory=class_row(TemplateVersion))
        await cursor.execute(_VERSION, {"tenant": tenant, "template": template, "version": version})
    return await cursor.fetchone()
