"""Provider accounts: administration (role waypost_relay), what tenants may know of one, and opening one to use it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, assert_never
from uuid import UUID, uuid4

import orjson
from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from waypost.messaging.provider import Credentials, ProviderAccount
from waypost.messaging.values import AccountState, FeedKind, Mode, ProviderKind
from waypost.store.columns import NOW
from waypost.store.database import Database
from waypost.store.errors import ConflictError, CredentialsError, NotFoundError
from waypost.store.pages import Page, Place, fetch_page
from waypost.store.sealing import Sealer
from waypost.store.tables import AccountBudgetRow, FeedRow, ProviderAccountRow

MAX_SECRET = 512
MAX_CREDENTIALS_FILE = 4096

_EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
_Secret = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SECRET, pattern=r"^[!-~]+$")]


class _Reference(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AmbientCredentials(_Reference):
    """SES only: AWS's own chain (instance profile, AWS_… variables)."""

    source: Literal["ambient"]


class EnvironmentCredentials(_Reference):
    """Names of environment variables of the processes that send."""

    source: Literal["env"]
    key_name: _EnvironmentName
    secret_name: _EnvironmentName


class FileCredentials(_Reference):
    """A JSON file `{"key": …, "secret": …}` on the machines that send."""

    source: Literal["file"]
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]{1,500}$")]


class SealedCredentials(_Reference):
    """The credentials themselves. They are sealed with WAYPOST_SECRET_KEY before they are stored, and never shown."""

    source: Literal["sealed"]
    key: _Secret
    secret: Annotated[_Secret, Field(repr=False)]


CredentialsReference = Annotated[
    AmbientCredentials | EnvironmentCredentials | FileCredentials | SealedCredentials, Field(discriminator="source")
]


class _KeyFile(_Reference):
    key: _Secret
    secret: _Secret


class _Sealed(_Reference):
    source: Literal["sealed"]
    key: str
    secret: str


_STORED: TypeAdapter[AmbientCredentials | EnvironmentCredentials | FileCredentials | _Sealed] = TypeAdapter(
    Annotated[AmbientCredentials | EnvironmentCredentials | FileCredentials | _Sealed, Field(discriminator="source")]
)


def stored_reference(reference: CredentialsReference, sealer: Sealer) -> dict[str, str]:
    """What is stored of a reference: secrets sealed, everything else as given."""
    if isinstance(reference, SealedCredentials):
        return {"source": "sealed", "key": sealer.seal(reference.key), "secret": sealer.seal(reference.secret)}
    return reference.model_dump(mode="json")


def open_credentials(stored: Mapping[str, Any], sealer: Sealer) -> Credentials:
    """The credentials of a stored reference, read now. Raises `CredentialsError`, which names what is missing."""
    try:
        reference = _STORED.validate_python(dict(stored))
    except ValidationError:
        raise CredentialsError("The account's credentials are not a reference that this version knows.") from None
    match reference:
        case AmbientCredentials():
            return Credentials(key="", secret="")
        case EnvironmentCredentials():
            return Credentials(key=_variable(reference.key_name), secret=_variable(reference.secret_name))
        case FileCredentials():
            return _credentials_file(reference.path)
        case _Sealed():
            return Credentials(key=sealer.open(reference.key), secret=sealer.open(reference.secret))
        case _:
            assert_never(reference)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise CredentialsError(f"The environment variable {name} is not set in this process; set it and start again.")
    return value


def _credentials_file(path: str) -> Credentials:
    try:
        with Path(path).open("rb") as file:
            found = _KeyFile.model_validate(orjson.loads(file.read(MAX_CREDENTIALS_FILE)))
    except OSError:
        raise CredentialsError(f"The credentials file {path} cannot be read by this process.") from None
    except ValueError:  # orjson's and pydantic's both
        raise CredentialsError(f'The credentials file {path} must be JSON: {{"key": …, "secret": …}}.') from None
    return Credentials(key=found.key, secret=found.secret)


# What an adapter needs of an account; read before a sender is made, not once a message.
_LOAD = """
SELECT id, kind, mode, region, endpoint, feed, credentials, topic_arn, certificate_origin, queue_url, callback_base
FROM provider_accounts WHERE id = %s
"""


async def load_account(database: Database, account: UUID, *, sealer: Sealer) -> ProviderAccount:
    """An account ready to use, credentials opened (role waypost_relay). Raises `NotFoundError`, `CredentialsError`."""
    async with database.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_LOAD, (account,))
        row = await cursor.fetchone()
    if row is None:
        raise NotFoundError("provider account")
    return as_provider_account(row, sealer)


def as_provider_account(row: Mapping[str, Any], sealer: Sealer) -> ProviderAccount:
    """A row of provider_accounts as what adapters take. Raises `CredentialsError`."""
    return ProviderAccount(
        id=row["id"],
        kind=ProviderKind(row["kind"]),
        mode=Mode(row["mode"]),
        region=row["region"],
        endpoint=row["endpoint"],
        feed=FeedKind(row["feed"]),
        credentials=open_credentials(row["credentials"], sealer),
        topic_arn=row["topic_arn"],
        certificate_origin=row["certificate_origin"],
        queue_url=row["queue_url"],
        callback_base=row["callback_base"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAccount:
    """What a tenant may know of an account."""

    id: UUID
    name: str
    kind: ProviderKind
    mode: Mode


async def find_account(session: AsyncSession, named: str) -> KnownAccount | None:
    """The account of this name or id, as a tenant may see it (either role)."""
    row = ProviderAccountRow
    named_by = col(row.name) == named
    with suppress(ValueError):
        named_by = or_(named_by, col(row.id) == UUID(named))
    found = (await session.exec(select(row.id, row.name, row.kind, row.mode).where(named_by))).first()
    if found is None:
        return None
    return KnownAccount(id=found[0], name=found[1], kind=ProviderKind(found[2]), mode=Mode(found[3]))


async def create_account(session: AsyncSession, columns: Mapping[str, Any]) -> ProviderAccountRow:
    """A new open account with its budget and feed. Raises `ConflictError` where the name is taken."""
    row = ProviderAccountRow(id=uuid4(), **columns)
    session.add(row)
    await _flush_named(session)
    session.add_all([AccountBudgetRow(account_id=row.id), FeedRow(account_id=row.id)])
    await session.flush()
    return row


async def get_account(session: AsyncSession, account: UUID) -> ProviderAccountRow:
    """One account. Raises `NotFoundError`."""
    row = await session.get(ProviderAccountRow, account)
    if row is None:
        raise NotFoundError("provider account")
    return row


async def list_accounts(session: AsyncSession, *, after: Place | None, limit: int) -> Page[ProviderAccountRow]:
    """Accounts in the order they were made."""
    return await fetch_page(session, select(ProviderAccountRow), ProviderAccountRow, after=after, limit=limit)


async def lock_account(session: AsyncSession, account: UUID) -> ProviderAccountRow:
    """One account, locked FOR UPDATE. Raises `NotFoundError`."""
    query = select(ProviderAccountRow).where(col(ProviderAccountRow.id) == account).with_for_update()
    row = (await session.exec(query)).one_or_none()
    if row is None:
        raise NotFoundError("provider account")
    return row


async def change_account(
    session: AsyncSession, row: ProviderAccountRow, changes: Mapping[str, Any]
) -> ProviderAccountRow:
    """The locked account with `changes` (columns) made. Raises `ConflictError` where the name is taken."""
    for column, value in changes.items():
        setattr(row, column, value)
    row.version += 1
    row.updated_at = NOW
    await _flush_named(session)
    await session.refresh(row)
    return row


async def pause_account(session: AsyncSession, account: UUID, *, reason: str) -> ProviderAccountRow:
    """Hold the account's messages until it is resumed by a person. Raises `NotFoundError`."""
    row = await lock_account(session, account)
    paused_at = row.paused_at if row.state == AccountState.PAUSED else NOW
    return await change_account(
        session,
        row,
        {"state": AccountState.PAUSED.value, "pause_reason": reason, "paused_at": paused_at, "resume_at": None},
    )


async def resume_account(session: AsyncSession, account: UUID) -> ProviderAccountRow:
    """Send again. Raises `NotFoundError`."""
    row = await lock_account(session, account)
    if row.state == AccountState.OPEN:
        return row
    return await change_account(
        session,
        row,
        {"state": AccountState.OPEN.value, "pause_reason": None, "paused_at": None, "resume_at": None},
    )


async def _flush_named(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError:
        raise ConflictError("Another account has this name; choose one of its own.", code="name_taken") from None
