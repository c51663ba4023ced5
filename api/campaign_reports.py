"""What came of a campaign's run: every recipient with a reason, and the counts by variant, domain and time."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, assert_never
from uuid import UUID

from fastapi import Depends, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field

from api.campaigns import CountsShown, Reader, RunShown, not_scheduled, show_run
from api.csv_rows import MEDIA_TYPE, Format, csv_lines, wants_csv
from api.cursors import MAX_PAGE
from api.dependencies import Caller
from api.fields import Listing, Shown, SlugPath
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.messaging.values import Delivery, Outcome
from waypost.store import campaign_reports as store
from waypost.store.campaign_reports import RecipientFilter, RecipientPage, RecipientRow
from waypost.store.campaign_tables import CampaignRunRow
from waypost.store.tallies import BucketCounts, Counts, VariantCounts, counts_by_variant, series, total

router = guarded_router("campaigns")

EXPORTED_AT_ONCE = 1000
MAX_BUCKETS = 5000

RunNumber = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The run's number; without it the last run")]
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}


class RecipientOutcome(StrEnum):
    """An outcome, or that there is none yet."""

    OPEN = "open"
    SENT = "sent"
    MAYBE_SENT = "maybe_sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Flag(StrEnum):
    """What was reported of a recipient, beside the delivery."""

    MACHINE_OPENED = "machine_opened"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    UNDELIVERABLE = "undeliverable"
    UNSUBSCRIBED = "unsubscribed"
    CONVERTED = "converted"


class RecipientShown(Shown):
    """A recipient of a run. `reason` says why it has its outcome, or what it waits for."""

    message_id: UUID
    contact: Annotated[str | None, Field(description="External id; null: deleted since")]
    address: str
    outcome: Outcome | None
    reason: str | None
    outcome_at: datetime | None
    due_at: datetime | None
    variant: Annotated[str | None, Field(description="Null: waits for the winner, or had none when it ended")]
    delivery: Delivery
    machine_opened: bool
    bounced: bool
    complained: bool
    undeliverable: bool
    unsubscribed: bool
    converted: bool


class VariantShown(CountsShown):
    """The counts of one variant."""

    variant: Annotated[str | None, Field(description="Null: who ended before a variant was chosen")]
    is_winner: bool


class DomainShown(CountsShown):
    """The counts of the recipients at one domain; `audience` is how many there are."""

    domain: str
    audience: int


class BucketShown(CountsShown):
    """What changed in the five minutes that begin at `at`."""

    at: datetime
    variant: str | None


class ReportShown(BaseModel):
    """A run's report."""

    run: RunShown
    variants: Sequence[VariantShown]
    domains: Annotated[Sequence[DomainShown], Field(description="The 50 largest; of email alone; up to 15 s old")]
    series: Annotated[Sequence[BucketShown], Field(description="By five minutes, the oldest first")]


class Table(StrEnum):
    """Which part of the report, for CSV."""

    TOTALS = "totals"
    VARIANTS = "variants"
    DOMAINS = "domains"
    SERIES = "series"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """A run, with the names of its variants."""

    row: CampaignRunRow
    names: Sequence[str]

    def name(self, variant: int | None) -> str | None:
        """A variant's name; None for -1, which is not one."""
        return None if variant is None or variant < 0 else self.names[variant]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A filter whose variant is still a name."""

    which: RecipientFilter
    variant: str | None

    def of(self, run: _Run) -> RecipientFilter:
        """The filter for a run. Raises `ApiError` 422 where the run has no such variant."""
        if self.variant is None:
            return self.which
        if self.variant not in run.names:
            advice = f"This run has no such variant; it has {', '.join(run.names)}."
            errors = [FieldError(field="query.variant", message=advice)]
            raise ApiError("validation_failed", advice, errors=errors)
        return replace(self.which, variant=run.names.index(self.variant))


async def _filter(
    outcome: RecipientOutcome | None = None,
    reason: Annotated[str | None, Query(pattern="^[a-z0-9_.:]{1,64}$", description="Why, or what it waits for")] = None,
    delivery: Delivery | None = None,
    flag: Annotated[Flag | None, Query(description="Of whom this was reported")] = None,
    variant: Annotated[str | None, Query(max_length=64, description="A variant's name")] = None,
) -> _Asked:
    return _Asked(RecipientFilter(outcome=outcome, reason=reason, delivery=delivery, flag=flag), variant)


AskedFilter = Annotated[_Asked, Depends(_filter)]
Cursor = Annotated[str | None, Query(max_length=64, description="next_cursor of the page before")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows a page, at most")]


_ALSO_CSV = {**_CSV, **problems(409)}


@router.get("/v1/campaigns/{key}/recipients", response_model=Listing[RecipientShown], responses=_ALSO_CSV)
async def list_recipients(
    caller: Reader,
    services: WithServices,
    request: Request,
    key: SlugPath,
    asked: AskedFilter,
    run: RunNumber = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    format: Format = None,
) -> Listing[RecipientShown] | Response:
    """Every recipient of a run, each once, with its outcome and reason. As CSV: all of them, streamed.

    A page of a filtered list may hold fewer rows than `limit`, or none: go on while there is a `next_cursor`.
    """
    of = await find_run(services, caller, key, run)
    which = asked.of(of)
    if wants_csv(request, format):
        return StreamingResponse(_export(services, of, which), media_type=MEDIA_TYPE)
    after = _read_cursor(cursor, which) if cursor else None
    page = await _page(services, of.row, which, after, limit)
    return Listing(
        data=[_recipient(of, row) for row in page.rows],
        next_cursor=_write_cursor(page.next, which) if page.next else None,
    )


@router.get("/v1/campaigns/{key}/report", response_model=ReportShown, responses=_ALSO_CSV)
async def get_report(
    caller: Reader,
    services: WithServices,
    request: Request,
    key: SlugPath,
    run: RunNumber = None,
    table: Annotated[Table, Query(description="The table that CSV has")] = Table.VARIANTS,
    format: Format = None,
) -> ReportShown | Response:
    """A run's counts: all, by variant, by domain, by five minutes. They are exact at the moment of asking."""
    of = await find_run(services, caller, key, run)
    if wants_csv(request, format):
        return Response(csv_lines(await _table(services, of, table)), media_type=MEDIA_TYPE)
    counts, buckets = await _counts(services, of.row)
    domains = await services.domains.of(of.row)
    return ReportShown(
        run=show_run(services, of.row, total(counts)),
        variants=[_variant(of, one) for one in counts],
        domains=[DomainShown.model_validate(one) for one in domains],
        series=[_bucket(of, one) for one in buckets],
    )


async def find_run(services: Services, caller: Caller, key: str, number: int | None) -> _Run:
    """The run of that number, or the last one. Raises `NotFoundError`, or `ConflictError` for a draft."""
    async with services.app_db.session(caller.tenant_id) as session:
        _, row = await store.find_run(session, caller.tenant_id, key, number, mode=caller.mode)
    if row is None:
        raise not_scheduled(key)
    return _Run(row=row, names=[content["name"] for content in row.definition["contents"]])


async def _page(
    services: Services, run: CampaignRunRow, which: RecipientFilter, after: UUID | None, limit: int
) -> RecipientPage:
    async with services.app_db.transaction(run.tenant_id) as connection:
        return await store.recipients(
            connection, tenant=run.tenant_id, run=run.id, which=which, after=after, limit=limit
        )


async def _export(services: Services, of: _Run, which: RecipientFilter) -> AsyncIterator[str]:
    names = list(RecipientShown.model_fields)
    yield csv_lines([names])
    after: UUID | None = None
    while True:
        page = await _page(services, of.row, which, after, EXPORTED_AT_ONCE)
        shown = (_recipient(of, row) for row in page.rows)
        yield csv_lines([getattr(one, name) for name in names] for one in shown)
        if (after := page.next) is None:
            return


def _recipient(of: _Run, row: RecipientRow) -> RecipientShown:
    flags = {name: getattr(row, name) for name in store.FLAGS}
    return RecipientShown(
        message_id=row.id,
        contact=row.contact,
        address=row.address,
        outcome=Outcome(row.outcome) if row.outcome else None,
        reason=row.outcome_reason or row.hold_reason,
        outcome_at=row.outcome_at,
        due_at=row.due_at,
        variant=of.name(row.variant),
        delivery=Delivery(row.delivery),
        **flags,
    )


async def _counts(services: Services, run: CampaignRunRow) -> tuple[list[VariantCounts], list[BucketCounts]]:
    async with services.app_db.transaction(run.tenant_id) as connection:
        counts = await counts_by_variant(connection, tenant=run.tenant_id, run=run.id)
        return counts, await series(connection, tenant=run.tenant_id, run=run.id, limit=MAX_BUCKETS)


_COUNTED = [each.name for each in fields(Counts)]


async def _table(services: Services, of: _Run, table: Table) -> Iterable[Sequence[Any]]:
    match table:
        case Table.TOTALS:
            counts, _ = await _counts(services, of.row)
            everything = total(counts)
            return [["run", "audience", *_COUNTED], [of.row.number, of.row.audience, *_numbers(everything)]]
        case Table.VARIANTS:
            counts, _ = await _counts(services, of.row)
            return [["variant", *_COUNTED], *([of.name(one.variant), *_numbers(one)] for one in counts)]
        case Table.DOMAINS:
            domains = await services.domains.of(of.row)
            return [["domain", "audience", *_COUNTED], *([one.domain, one.audience, *_numbers(one)] for one in domains)]
        case Table.SERIES:
            _, buckets = await _counts(services, of.row)
            rows = ([one.bucket, of.name(one.variant), *_numbers(one)] for one in buckets)
            return [["at", "variant", *_COUNTED], *rows]
        case _:
            assert_never(table)


def _numbers(counts: Counts) -> list[int]:
    return [getattr(counts, name) for name in _COUNTED]


def _variant(of: _Run, counts: VariantCounts) -> VariantShown:
    numbers = dict(zip(_COUNTED, _numbers(counts), strict=True))
    is_winner = of.row.winner is not None and of.row.winner == counts.variant
    return VariantShown(variant=of.name(counts.variant), is_winner=is_winner, **numbers)


def _bucket(of: _Run, counts: BucketCounts) -> BucketShown:
    numbers = dict(zip(_COUNTED, _numbers(counts), strict=True))
    return BucketShown(at=counts.bucket, variant=of.name(counts.variant), **numbers)


def _write_cursor(place: UUID, which: RecipientFilter) -> str:
    return urlsafe_b64encode(_order(which) + place.bytes).decode("ascii").rstrip("=")


def _read_cursor(text: str, which: RecipientFilter) -> UUID:
    """The place again. Raises `ApiError` 422 for anything that was not written for this filter."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        place = UUID(bytes=raw[1:])
        if raw[:1] != _order(which) or _write_cursor(place, which) != text:
            raise ValueError
    except ValueError:
        advice = "Use a next_cursor of an earlier answer as it is, with the same filter, or leave cursor out."
        raise ApiError("invalid_cursor", advice, errors=[FieldError(field="query.cursor", message=advice)]) from None
    return place


def _order(which: RecipientFilter) -> bytes:
    """Which of the two orders a place is one of."""
    return b"o" if which.by_outcome else b"c"
