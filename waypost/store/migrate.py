"""Bring a database to the newest migration, and give the roles their passwords."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import Connection, create_engine

from waypost.store.months import AHEAD, MAKE

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_LOCK = 0x77617970  # one migrator at a time, whoever starts it


def config() -> Config:
    """Alembic's configuration, without an ini file."""
    cfg = Config()
    cfg.set_main_option("script_location", str(_MIGRATIONS))
    return cfg


def upgrade(owner_url: str, passwords: Mapping[str, str] | None = None) -> None:
    """Migrate to head as the owner (a libpq URL); `passwords` maps role names to their login passwords."""
    engine = create_engine(sqlalchemy_url(owner_url))
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({_LOCK})")
            connection.commit()
            cfg = config()
            cfg.attributes["connection"] = connection
            command.upgrade(cfg, "head")
            _set_passwords(connection, passwords or {})
            connection.commit()
            _make_months(connection)
    finally:
        engine.dispose()


def fingerprint() -> str:
    """What the migrations come to, as a hash: of two that are equal the same database comes out."""
    digest = hashlib.sha256()
    for file in sorted([*_MIGRATIONS.rglob("*.sql"), *_MIGRATIONS.rglob("*.py")]):
        digest.update(file.relative_to(_MIGRATIONS).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def sqlalchemy_url(url: str) -> str:
    """The same URL for SQLAlchemy with psycopg 3."""
    return "postgresql+psycopg://" + url.split("://", 1)[1]


def _make_months(connection: Connection) -> None:
    """This month and those ahead, each in a transaction of its own."""
    while connection.exec_driver_sql(MAKE, (AHEAD,)).scalar() is not None:
        connection.commit()
    connection.commit()


def _set_passwords(connection: Connection, passwords: Mapping[str, str]) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    for role, password in passwords.items():
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password))
        driver.cursor().execute(statement)
    driver.commit()  # the driver's own transaction: SQLAlchemy did not begin it and would not commit it
