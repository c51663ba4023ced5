"""How a column of ours is declared, so that a table reads as a list of names and types."""

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, FetchedValue, Identity, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine
from sqlmodel import Field

AT = DateTime(timezone=True)
JSON = JSONB(none_as_null=True)

NOW: Any = func.waypost_now()
"""The database's clock, to set a column to."""


def key(kind: TypeEngine[Any] | type[TypeEngine[Any]] = Uuid) -> Any:
    """A column of the primary key."""
    return Field(sa_column=Column(kind, primary_key=True))


def numbered() -> Any:
    """A primary key that PostgreSQL counts up."""
    return Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))


def must(kind: TypeEngine[Any] | type[TypeEngine[Any]]) -> Any:
    """A column that every row gives."""
    return Field(sa_column=Column(kind, nullable=False))


def may(kind: TypeEngine[Any] | type[TypeEngine[Any]]) -> Any:
    """A column that may be null."""
    return Field(default=None, sa_column=Column(kind, nullable=True))


def filled(kind: TypeEngine[Any] | type[TypeEngine[Any]]) -> Any:
    """A column with a default of PostgreSQL's; left out of an INSERT while it is None."""
    return Field(default=None, sa_column=Column(kind, nullable=False, server_default=FetchedValue()))
