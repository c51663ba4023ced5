"""What came of a webhook step's posts. Inside the caller's transaction, as waypost_app for one tenant."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

Connection = AsyncConnection[Any]

_TRY = """
UPDATE enrollments SET place = place || jsonb_build_object(
    'tries', COALESCE((place ->> 'tries')::integer, 0) + 1, 'try_at', waypost_now() + %(wait)s)
WHERE tenant_id = %(tenant)s AND id = %(id)s AND state = 'open' AND visits = %(visit)s
"""

_ANSWER = """
UPDATE enrollments SET place = (place - ARRAY['tries', 'try_at']) || jsonb_build_object('answer', %(edge)s::text)
WHERE tenant_id = %(tenant)s AND id = %(id)s AND state = 'open' AND visits = %(visit)s
"""

_WHY = """
UPDATE enrollment_visits SET why = why || jsonb_build_object(
    'code', %(code)s::text, 'taken', %(taken)s::boolean, 'tries', COALESCE((why ->> 'tries')::integer, 0) + 1)
WHERE tenant_id = %(tenant)s AND enrollment_id = %(id)s AND number = %(visit)s
"""


async def note_try(
    connection: Connection, *, enrollment: tuple[UUID, UUID], visit: int, code: str, wait: timedelta
) -> None:
    """It was not taken, and is tried again after a while. `enrollment` is (tenant, id)."""
    values = {"tenant": enrollment[0], "id": enrollment[1], "visit": visit, "wait": wait, "code": code, "taken": False}
    await connection.execute(_TRY, values)
    await connection.execute(_WHY, values)


async def note_answer(
    connection: Connection, *, enrollment: tuple[UUID, UUID], visit: int, code: str, taken: bool, edge: str
) -> None:
    """It was taken, or refused for good: the next decision leaves the step by this edge."""
    values = {"tenant": enrollment[0], "id": enrollment[1], "visit": visit, "edge": edge, "code": code, "taken": taken}
    await connection.execute(_ANSWER, values)
    await connection.execute(_WHY, values)
