"""The control of the events' bench: the rows alone, by multi-row INSERTs through psycopg, each committed."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

import orjson
import psycopg

from waypost.bench.journey_crowd import external_id
from waypost.messaging.ids import contact_id

_INSERT = "INSERT INTO contact_events (tenant_id, id, contact_id, name, properties, occurred_at, month) VALUES "
_ROW = "(%s, %s, %s, %s, %s, %s, %s)"

Row = tuple[object, ...]


class BareRows:
    """`async with BareRows(owner, tenant=…, connections=2) as bare:` connections of one process, as its owner."""

    def __init__(self, owner: str, *, tenant: UUID, connections: int) -> None:
        self._owner = owner
        self._tenant = tenant
        self._count = connections
        self._connections: list[psycopg.AsyncConnection] = []

    async def __aenter__(self) -> Self:
        for _ in range(self._count):
            self._connections.append(await psycopg.AsyncConnection.connect(self._owner, autocommit=True))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for connection in self._connections:
            await connection.close()

    async def rate(self, batches: Sequence[Sequence[Row]]) -> float:
        """Rows a second, from the first statement to the last commit."""
        waiting = iter(batches)

        async def work(connection: psycopg.AsyncConnection) -> None:
            for rows in waiting:
                statement = _INSERT + ", ".join([_ROW] * len(rows))
                await connection.execute(statement.encode(), [value for row in rows for value in row])

        began = time.perf_counter()
        await asyncio.gather(*(work(connection) for connection in self._connections))
        return sum(map(len, batches)) / (time.perf_counter() - began)

    def rows(self, contacts: Sequence[int], names: Sequence[str], properties: object) -> list[Row]:
        """The rows of a batch, as the API makes them of its requests: all that costs is done before it is measured."""
        now, said = datetime.now(UTC), orjson.dumps(properties).decode()
        month = now.date().replace(day=1)
        return [
            (
                self._tenant,
                uuid4(),
                contact_id(tenant=self._tenant, external_id=external_id(contact)),
                names[place % len(names)],
                said,
                now,
                month,
            )
            for place, contact in enumerate(contacts)
        ]
