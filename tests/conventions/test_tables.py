"""The SQLModel tables say what the migrations made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Inspector, create_engine, inspect, text
from sqlmodel import SQLModel

from tests.services import Database
from waypost.store import campaign_tables, journey_tables, ledger_tables, tables
from waypost.store.migrate import sqlalchemy_url

NOT_OURS = {"alembic_version"}
HOMES = (tables, campaign_tables, ledger_tables, journey_tables)


def test_every_table_and_column_is_declared_as_it_was_migrated(module_database: Database) -> None:
    engine = create_engine(sqlalchemy_url(module_database.owner_url))
    try:
        migrated = _migrated(inspect(engine), engine)
    finally:
        engine.dispose()
    declared = {name: _columns(engine, table.columns) for name, table in SQLModel.metadata.tables.items()}
    assert set(declared) == set(migrated), f"declare new tables in one of {[one.__name__ for one in HOMES]}"
    for name, columns in migrated.items():
        assert declared[name] == columns, name


def _migrated(inspector: Inspector, engine: Engine) -> dict[str, dict[str, Any]]:
    found = {}
    for name in set(inspector.get_table_names()) - NOT_OURS - _partitions(engine):
        key = inspector.get_pk_constraint(name)["constrained_columns"]
        found[name] = {
            column["name"]: (_type(engine, column["type"]), column["nullable"], column["name"] in key)
            for column in inspector.get_columns(name)
        }
    return found


def _partitions(engine: Engine) -> set[str]:
    """Parts of a table that is declared."""
    with engine.connect() as connection:
        return set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")))


def _columns(engine: Engine, columns: Any) -> dict[str, Any]:
    return {column.name: (_type(engine, column.type), column.nullable, column.primary_key) for column in columns}


def _type(engine: Engine, kind: Any) -> str:
    return str(kind.compile(engine.dialect))
