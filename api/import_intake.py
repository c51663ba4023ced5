"""Taking an uploaded file in: a piece at a time, each batch in a transaction of its own, never the whole in memory."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from uuid import UUID

from starlette.requests import ClientDisconnect

from api.metrics import ApiMetrics
from api.problems import ApiError, FieldError
from waypost.imports.batching import CsvIntake
from waypost.imports.errors import FileError
from waypost.imports.options import ImportOptions
from waypost.store import imports as store
from waypost.store.database import Database
from waypost.store.imports import ImportState, ReadyBatch, Taken

AT_ONCE = 4
"""Uploads that one process takes in at a time: what each holds in memory is some ten times PIECE."""
PIECE = 131_072
"""Bytes that are parsed together, in a thread: other requests are answered meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What is uploaded: the bytes of a file from `offset` on."""

    options: ImportOptions
    file_hash: str
    file_name: str
    size: int
    offset: int


class ImportDesk:
    """Where uploads are taken in."""

    def __init__(self, database: Database, metrics: ApiMetrics) -> None:
        self._database = database
        self._metrics = metrics
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="imports")
        self._at_work = 0

    def close(self) -> None:
        """End the thread."""
        self._reader.shutdown(cancel_futures=True)

    async def receive(self, tenant: UUID, upload: Upload, body: AsyncIterator[bytes]) -> UUID:
        """Take in what comes, from where the import stands; its id. Raises `ApiError` and `StoreError`."""
        if self._at_work >= AT_ONCE:
            bound = f"This process takes {AT_ONCE} uploads in at a time."
            errors = [FieldError(field="body", message=bound, bound=AT_ONCE)]
            raise ApiError("imports_full", f"{bound} Try again.", errors=errors, headers={"Retry-After": "5"})
        self._at_work += 1
        try:
            return await self._receive(tenant, upload, body)
        finally:
            self._at_work -= 1

    async def _receive(self, tenant: UUID, upload: Upload, body: AsyncIterator[bytes]) -> UUID:
        async with self._database.transaction(tenant) as connection:
            state = await store.open_import(
                connection,
                tenant,
                upload.options,
                file_hash=upload.file_hash,
                file_name=upload.file_name,
                size=upload.size,
            )
        if state.state == "completed":
            return state.id
        if upload.offset > state.byte_offset:
            raise _not_there(state.byte_offset)
        going = _Going(self, tenant, upload.options, state)
        try:
            await going.read(body, upload)
        except FileError as error:
            async with self._database.transaction(tenant) as connection:
                await store.fail_import(connection, tenant, state.id, problem=error.message)
            raise ApiError(
                "invalid_import_file", error.message, errors=[FieldError(field=error.field, message=error.message)]
            ) from None
        except ClientDisconnect:
            raise ApiError("bad_request", "The upload ended early; send the rest from where the import is.") from None
        return state.id

    async def parse(self, tenant: UUID, intake: CsvIntake, data: bytes, *, final: bool) -> list[ReadyBatch]:
        """The batches that these bytes complete."""

        def parsed() -> list[ReadyBatch]:
            return [ReadyBatch.of(tenant, batch) for batch in intake.take(data, final=final)]

        return await asyncio.get_running_loop().run_in_executor(self._reader, parsed)

    async def put(self, tenant: UUID, at: ImportState, batch: ReadyBatch, *, dry_run: bool) -> Taken:
        """Commit a batch."""
        async with self._database.transaction(tenant) as connection:
            taken = await store.take_batch(connection, tenant, at, batch, dry_run=dry_run)
        for result in ("created", "updated", "repeated", "refused"):
            self._metrics.import_rows.labels(result).inc(getattr(taken, result))
        return taken


class _Going:
    """One upload on its way in."""

    def __init__(self, desk: ImportDesk, tenant: UUID, options: ImportOptions, state: ImportState) -> None:
        self._desk = desk
        self._tenant = tenant
        self._dry_run = options.dry_run
        self._state = state
        self._commit: asyncio.Task[None] | None = None
        self._intake = CsvIntake(options, offset=state.byte_offset, rows=state.rows_read, layout=store.layout_of(state))

    async def read(self, body: AsyncIterator[bytes], upload: Upload) -> None:
        """Everything that comes; what is in already is passed over."""
        try:
            await self._read(body, upload)
            await self._settle()
        finally:
            if self._commit is not None:  # what the body's end has cut off still goes in
                await asyncio.gather(self._commit, return_exceptions=True)

    async def _read(self, body: AsyncIterator[bytes], upload: Upload) -> None:
        known = self._state.byte_offset - upload.offset
        received = 0
        async for data in _pieces(body):
            received += len(data)
            if upload.offset + received > upload.size:
                raise _longer(upload.size)
            await self._take(data[max(0, len(data) - max(0, received - known)) :], final=False)
        ended = upload.offset + received == upload.size
        if ended or received > known:
            await self._take(b"", final=ended)

    async def _take(self, data: bytes, *, final: bool) -> None:
        """While PostgreSQL takes one batch, the next one is parsed; never more than that."""
        for ready in await self._desk.parse(self._tenant, self._intake, data, final=final):
            await self._settle()
            self._commit = asyncio.create_task(self._put(ready))

    async def _settle(self) -> None:
        if self._commit is not None:
            commit, self._commit = self._commit, None
            await commit

    async def _put(self, ready: ReadyBatch) -> None:
        taken = await self._desk.put(self._tenant, self._state, ready, dry_run=self._dry_run)
        refused = self._state.rows_refused + taken.refused
        self._state = replace(self._state, byte_offset=ready.batch.end, rows_refused=refused)


async def _pieces(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body in pieces of some size; the server does not read on while one is worked on."""
    held: list[bytes] = []
    size = 0
    async for data in body:
        held.append(data)
        size += len(data)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _not_there(offset: int) -> ApiError:
    advice = f"The import stands at byte {offset}: upload from there on."
    return ApiError("import_offset", advice, errors=[FieldError(field="query.offset", message=advice, bound=offset)])


def _longer(size: int) -> ApiError:
    advice = f"More bytes came than the {size} that were announced by offset and size."
    return ApiError("validation_failed", advice, errors=[FieldError(field="query.size", message=advice, bound=size)])
