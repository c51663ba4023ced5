"""`/v1/imports`: contacts from a CSV file, uploaded as it is, resumable at any byte."""

import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.cursors import AskedPage, listing
from api.dependencies import Caller, Scope, needs
from api.fields import SLUG, Listing, Shown
from api.import_intake import Upload
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.imports.options import Delimiter, IdFrom, ImportOptions
from waypost.store import imports as store
from waypost.store.campaign_tables import ImportErrorRow

router = guarded_router("imports")

MAX_MAPPINGS = 500
ERRORS_PAGE = 5_000
_CSV = {"text/csv": {"schema": {"type": "string", "format": "binary"}}}
_BODY = {"requestBody": {"required": False, "description": "The file's bytes from `offset` on", "content": _CSV}}


class ImportShown(Shown):
    """An import. rows_read = created + updated + repeated + refused + blank; the header is not one of them."""

    id: UUID
    file_name: str
    options: dict[str, Any]
    state: Literal["running", "completed", "failed"]
    problem: str | None
    """Why the file as a whole cannot be taken."""
    dry_run: bool
    byte_offset: int
    """Everything before it is in: what is not, is uploaded from here on."""
    total_bytes: int
    rows_read: int
    rows_created: int
    rows_updated: int
    rows_repeated: int
    rows_refused: int
    rows_blank: int
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None


Reader = Annotated[Caller, needs(Scope.CONTACTS_READ)]
Writer = Annotated[Caller, needs(Scope.CONTACTS_WRITE)]


async def _options(
    mapping: Annotated[
        list[str] | None,
        Query(alias="map", max_length=MAX_MAPPINGS, description="COLUMN=FIELD; - leaves the column out"),
    ] = None,
    id_from: Annotated[IdFrom, Query(alias="id", description="What tells one contact from another")] = (
        IdFrom.EXTERNAL_ID
    ),
    delimiter: Annotated[Delimiter, Query(description="Between cells")] = Delimiter.AUTO,
    types: Annotated[bool, Query(description="Attributes that can be a number or boolean become one")] = False,
    list_key: Annotated[
        str | None, Query(alias="list", pattern=SLUG, description="Who is imported joins this list")
    ] = None,
    dry_run: Annotated[bool, Query(description="Judge and count every row, change no contact")] = False,
    label: Annotated[
        str | None, Query(pattern=SLUG, description="Another label makes the same file another import")
    ] = None,
) -> ImportOptions:
    return ImportOptions(
        columns=tuple(_pair(one) for one in mapping or ()),
        id_from=id_from,
        delimiter=delimiter,
        types=types,
        list_key=list_key,
        dry_run=dry_run,
        label=label,
    )


def _pair(text: str) -> tuple[str, str]:
    column, found, field = text.rpartition("=")
    if not (found and column and field) or len(text) > 600 or "\0" in text or not _is_text(text):
        raise _invalid("map", "A mapping is COLUMN=FIELD, for example E-Mail=email.")
    return column.strip(), field.strip()


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


async def _upload(
    request: Request,
    options: Annotated[ImportOptions, Depends(_options)],
    sha256: Annotated[str, Query(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the whole file, hexadecimal")],
    size: Annotated[
        int | None, Query(ge=0, le=2**53, description="Bytes of the whole file; offset + Content-Length without it")
    ] = None,
    offset: Annotated[int, Query(ge=0, le=2**53, description="Where in the file the body begins")] = 0,
    file_name: Annotated[str, Query(max_length=255, description="For people to recognise it")] = "",
) -> Upload:
    length = request.headers.get("content-length", "")
    if size is None and length.isdecimal():
        size = offset + int(length)
    if size is None:
        raise _invalid("size", "Give size, or send Content-Length.")
    if "\0" in file_name or not _is_text(file_name):
        raise _invalid("file_name", "The name holds a character that cannot be stored.")
    return Upload(options=options, file_hash=sha256, file_name=PurePath(file_name).name, size=size, offset=offset)


@router.post(
    "/v1/imports", openapi_extra=_BODY, responses=problems(400, 404, 409, 413), response_model_exclude_none=False
)
async def import_contacts(
    caller: Writer, services: WithServices, request: Request, upload: Annotated[Upload, Depends(_upload)]
) -> ImportShown:
    """Upload a CSV file, or go on with it: the answer says how far it is in.

    A file and its options are one import. Sent again, whole or from `offset` on, what is in already is passed over;
    an empty body asks where it stands. `offset` beyond `byte_offset` is 409. Who names a list needs `audiences:write`.
    """
    bound = services.settings.api.max_import_bytes
    if upload.size > bound:
        advice = f"A file may have {bound} bytes (WAYPOST_MAX_IMPORT_BYTES); import it in parts."
        raise ApiError("body_too_large", advice, errors=[FieldError(field="query.size", message=advice, bound=bound)])
    if upload.options.list_key is not None and not {Scope.AUDIENCES_WRITE, Scope.ALL} & caller.scopes:
        raise ApiError("missing_scope", f"Putting contacts on a list takes the scope {Scope.AUDIENCES_WRITE} too.")
    import_id = await services.imports.receive(caller.tenant_id, upload, request.stream())
    return await get_import(caller, services, import_id)


@router.get("/v1/imports/{import_id}")
async def get_import(caller: Reader, services: WithServices, import_id: UUID) -> ImportShown:
    """How far an import is."""
    async with services.app_db.session(caller.tenant_id) as session:
        return ImportShown.model_validate(await store.get_import(session, caller.tenant_id, import_id))


@router.get("/v1/imports")
async def list_imports(caller: Reader, services: WithServices, page: AskedPage) -> Listing[ImportShown]:
    """Imports in the order they were begun."""
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.list_imports(session, caller.tenant_id, after=page.after, limit=page.limit)
    return listing(found, ImportShown.model_validate)


@router.get(
    "/v1/imports/{import_id}/errors",
    response_class=Response,
    responses={200: {"description": "row, field, message", "content": _CSV}},
)
async def get_import_errors(caller: Reader, services: WithServices, import_id: UUID) -> Response:
    """The rows that were refused, as CSV, at most 100,000: row (the header is 1), field, message."""
    await get_import(caller, services, import_id)

    async def written() -> AsyncIterator[str]:
        yield _csv([("row", "field", "message")])
        after = 0
        while True:
            async with services.app_db.session(caller.tenant_id) as session:
                rows = await store.list_errors(session, caller.tenant_id, import_id, after=after, limit=ERRORS_PAGE)
            if rows:
                yield _csv(_cells(row) for row in rows)
                after = rows[-1].row_number
            if len(rows) < ERRORS_PAGE:
                return

    return StreamingResponse(written(), media_type="text/csv")


def _cells(row: ImportErrorRow) -> tuple[int, str, str]:
    return row.row_number, row.field or "", row.message


def _csv(rows: Iterable[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _invalid(parameter: str, advice: str) -> ApiError:
    return ApiError("validation_failed", advice, errors=[FieldError(field=f"query.{parameter}", message=advice)])
