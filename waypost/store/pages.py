"""Pages of a list in the order of creation: the next one starts after the last row's place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import tuple_
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar


class Listed(Protocol):
    """A row that a list can be ordered by."""

    id: Any
    created_at: Any


R = TypeVar("R", bound=Listed)


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place in a list ordered by creation; the id breaks ties."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some rows, and the place after which the next page starts (None: this was the last)."""

    rows: Sequence[R]
    next: Place | None


async def fetch_page(
    session: AsyncSession, query: SelectOfScalar[R], of: type[R], *, after: Place | None, limit: int
) -> Page[R]:
    """The page of `query`, which selects the table `of`, that starts after a place."""
    order = col(of.created_at), col(of.id)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(after.created_at, after.id))
    rows = (await session.exec(query.order_by(*order).limit(limit + 1))).all()
    if len(rows) <= limit:
        return Page(rows, None)
    last = rows[limit - 1]
    return Page(rows[:limit], Place(last.created_at, last.id))
