"""SQL statements counted by PostgreSQL itself: every statement of the running processes, from its log."""

import re
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from psycopg import conninfo

from waypost.stack.postgres import OWNER
from waypost.stack.running import RunningStack
from waypost.stack.secrets import StackSecrets

_STATEMENT = re.compile(r"(waypost_(?:app|relay)).*?(?:execute [^:]*|statement):\s*(\w+)")
_SETTLE_S = 0.5


class StatementCount:
    """While the block lasts, the embedded server logs every statement with its role; then they are counted."""

    def __init__(self, stack: RunningStack) -> None:
        self._owner = owner_conninfo(stack)
        self._log = _log_file(stack.data)
        self._from = 0
        self._counted: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._set("log_statement = 'all'")
        self._from = self._log.stat().st_size
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._log.open(errors="replace") as log:
            log.seek(self._from)
            for role, verb in _STATEMENT.findall(log.read()):
                self._counted[f"{role} {verb.upper()}"] += 1
        self._set("log_statement = 'none'")

    def per(self, count: int) -> dict[str, float]:
        """Statements a message by role and verb, and in all."""
        figures = {name: round(number / count, 2) for name, number in sorted(self._counted.items())}
        return {**figures, "total": round(self._counted.total() / count, 2)}

    def _set(self, *settings: str) -> None:
        with psycopg.connect(self._owner, autocommit=True) as connection:
            for setting in settings:
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(_SETTLE_S)


def owner_conninfo(stack: RunningStack) -> str:
    """The embedded server's owner; only for benches and drills, which look at it from outside."""
    password = StackSecrets.load_or_create(stack.data).postgres_password
    return conninfo.make_conninfo(stack.environment["WAYPOST_DATABASE_URL"], user=OWNER, password=password)


def _log_file(data: Path) -> Path:
    return data / "logs" / "postgres.log"
