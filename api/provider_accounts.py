"""`/v1/provider-accounts`: administration's SES and Twilio accounts, their budgets and the trust in their events."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from api.cursors import AskedPage, listing
from api.dependencies import Admin
from api.fields import Body, Listing, Note, Shown, Slug
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.messaging.values import AccountState, FeedKind, Mode, ProviderKind
from waypost.providers.accounts import check_endpoint
from waypost.store import accounts as store
from waypost.store.accounts import AmbientCredentials, CredentialsReference

router = guarded_router("provider accounts")

_Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=500)]
_Arn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]{1,32}:[0-9]{12}:[A-Za-z0-9_-]{1,256}$")]


class AccountChanges(Body):
    """What to change of an account; fields that are left out stay. Kind and mode never change."""

    name: Slug = ""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] = "us-east-1"
    endpoint: Annotated[_Url | None, Field(description="Null: the provider's own. A test account must name one")] = None
    credentials: CredentialsReference = AmbientCredentials(source="ambient")
    feed: Annotated[FeedKind, Field(description="durable: SNS to SQS; lossy: HTTPS callbacks")] = FeedKind.LOSSY
    topic_arn: Annotated[_Arn | None, Field(description="The one SNS topic whose events count")] = None
    certificate_origin: Annotated[_Url | None, Field(description="Null: the region's SNS host")] = None
    queue_url: Annotated[_Url | None, Field(description="The SQS queue of a durable feed")] = None
    callback_base: Annotated[_Url | None, Field(description="Where the provider reaches `waypost ingest`")] = None
    rate_per_second: Annotated[float, Field(gt=0, le=100_000)] = 14
    daily_quota: Annotated[int | None, Field(gt=0, le=10_000_000_000)] = None
    fast_share: Annotated[float, Field(ge=0, lt=1, description="Share of the rate kept for the fast lane")] = 0.2


class AccountInput(AccountChanges):
    """A new account."""

    name: Slug
    kind: ProviderKind
    mode: Mode
    feed: FeedKind
    credentials: CredentialsReference


class CredentialsShown(Shown):
    """Where the credentials come from; secrets are never shown."""

    source: str
    key_name: str | None = None
    secret_name: str | None = None
    path: str | None = None


class AccountShown(Shown):
    """An account."""

    id: UUID
    name: str
    kind: ProviderKind
    mode: Mode
    region: str
    endpoint: str | None
    credentials: CredentialsShown
    feed: FeedKind
    topic_arn: str | None
    certificate_origin: str | None
    queue_url: str | None
    callback_base: str | None
    rate_per_second: float
    daily_quota: int | None
    fast_share: float
    state: AccountState
    pause_reason: str | None
    paused_at: datetime | None
    resume_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class PauseInput(Body):
    """Why an account is paused."""

    reason: Note = "paused by a person"


def _show(row: Any) -> AccountShown:
    return AccountShown.model_validate(row)


@router.post("/v1/provider-accounts", status_code=201, responses=problems(409))
async def create_account(_: Admin, services: WithServices, body: AccountInput) -> AccountShown:
    """Make an account. A live one may name its provider's own origins only."""
    columns = _columns(body, services, body.model_dump(mode="json"))
    _check(columns)
    async with services.relay_db.session() as session:
        return _show(await store.create_account(session, columns))


@router.get("/v1/provider-accounts")
async def list_accounts(_: Admin, services: WithServices, page: AskedPage) -> Listing[AccountShown]:
    """Accounts in the order they were made."""
    async with services.relay_db.session() as session:
        return listing(await store.list_accounts(session, after=page.after, limit=page.limit), _show)


@router.get("/v1/provider-accounts/{account_id}")
async def get_account(_: Admin, services: WithServices, account_id: UUID) -> AccountShown:
    """One account."""
    async with services.relay_db.session() as session:
        return _show(await store.get_account(session, account_id))


@router.patch("/v1/provider-accounts/{account_id}", responses=problems(409))
async def change_account(_: Admin, services: WithServices, account_id: UUID, body: AccountChanges) -> AccountShown:
    """Change an account."""
    changes = _columns(body, services, body.model_dump(mode="json", exclude_unset=True))
    async with services.relay_db.session() as session:
        row = await store.lock_account(session, account_id)
        _check({**row.model_dump(), **changes})
        return _show(await store.change_account(session, row, changes))


@router.post("/v1/provider-accounts/{account_id}/pause")
async def pause_account(_: Admin, services: WithServices, account_id: UUID, body: PauseInput) -> AccountShown:
    """Hold the account's messages; nothing is burnt."""
    async with services.relay_db.session() as session:
        return _show(await store.pause_account(session, account_id, reason=body.reason))


@router.post("/v1/provider-accounts/{account_id}/resume")
async def resume_account(_: Admin, services: WithServices, account_id: UUID) -> AccountShown:
    """Send again."""
    async with services.relay_db.session() as session:
        return _show(await store.resume_account(session, account_id))


def _columns(body: AccountChanges, services: WithServices, given: Mapping[str, Any]) -> dict[str, Any]:
    if "credentials" not in given:
        return dict(given)
    return {**given, "credentials": store.stored_reference(body.credentials, services.sealer)}


def _check(columns: Mapping[str, Any]) -> None:
    """Raises `EndpointRefusedError`, or `ApiError` for a Twilio account without credentials of its own."""
    if columns["kind"] == ProviderKind.TWILIO and columns["credentials"]["source"] == "ambient":
        advice = "Only SES has ambient credentials; give the account SID and auth token by env, file or sealed."
        raise ApiError(
            "credentials_unavailable", advice, errors=[FieldError(field="credentials.source", message=advice)]
        )
    check_endpoint(
        kind=ProviderKind(columns["kind"]),
        mode=Mode(columns["mode"]),
        region=columns["region"],
        endpoint=columns["endpoint"],
        certificate_origin=columns["certificate_origin"],
        queue_url=columns["queue_url"],
    )
