"""Audiences', campaigns' and runs' tables as SQLModel sees them. The migrations make them, tests compare."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Identity,
    Integer,
    Interval,
    LargeBinary,
    SmallInteger,
    Text,
    Uuid,
)
from sqlmodel import Field, SQLModel

from waypost.store.columns import AT, JSON, filled, key, may, must


class TopicRow(SQLModel, table=True):
    """What a contact can subscribe to or leave."""

    __tablename__ = "topics"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    name: str = must(Text)
    description: str = filled(Text)
    opt_in: bool = filled(Boolean)
    double_opt_in: bool = filled(Boolean)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class TopicSubscriptionRow(SQLModel, table=True):
    """A contact's word on a topic; no row: never asked."""

    __tablename__ = "topic_subscriptions"

    tenant_id: UUID = key()
    topic_id: UUID = key()
    contact_id: UUID = key()
    state: str = must(Text)
    source: str = filled(Text)
    confirm_sent_at: datetime | None = may(AT)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class ListRow(SQLModel, table=True):
    """A static list of contacts."""

    __tablename__ = "lists"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    name: str = must(Text)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class ListMemberRow(SQLModel, table=True):
    """Who is on a list."""

    __tablename__ = "list_members"

    tenant_id: UUID = key()
    list_id: UUID = key()
    contact_id: UUID = key()
    added_at: datetime = filled(AT)


class SegmentRow(SQLModel, table=True):
    """A rule over contacts."""

    __tablename__ = "segments"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    name: str = must(Text)
    rule: dict[str, Any] = must(JSON)
    version: int = filled(Integer)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class ContactEventRow(SQLModel, table=True):
    """What contacts did in the tenant's product."""

    __tablename__ = "contact_events"

    tenant_id: UUID = key()
    id: UUID = key()
    contact_id: UUID = must(Uuid)
    name: str = must(Text)
    properties: dict[str, Any] = filled(JSON)
    occurred_at: datetime = must(AT)
    received_at: datetime = filled(AT)
    month: date = key(Date)


class ImportRow(SQLModel, table=True):
    """An upload of contacts, resumable."""

    __tablename__ = "imports"

    tenant_id: UUID = key()
    id: UUID = key()
    file_hash: bytes = must(LargeBinary)
    file_name: str = must(Text)
    options: dict[str, Any] = must(JSON)
    state: str = must(Text)
    dry_run: bool = filled(Boolean)
    byte_offset: int = filled(BigInteger)
    total_bytes: int | None = may(BigInteger)
    rows_read: int = filled(BigInteger)
    rows_created: int = filled(BigInteger)
    rows_updated: int = filled(BigInteger)
    rows_repeated: int = filled(BigInteger)
    rows_refused: int = filled(BigInteger)
    rows_blank: int = filled(BigInteger)
    layout: dict[str, Any] | None = may(JSON)
    problem: str | None = may(Text)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)
    completed_at: datetime | None = may(AT)


class ImportErrorRow(SQLModel, table=True):
    """A row of an import that was refused, and why."""

    __tablename__ = "import_errors"

    tenant_id: UUID = key()
    import_id: UUID = key()
    row_number: int = key(BigInteger)
    field: str | None = may(Text)
    message: str = must(Text)


class ImportKeyRow(SQLModel, table=True):
    """A contact that an import has named."""

    __tablename__ = "import_keys"

    tenant_id: UUID = key()
    import_id: UUID = key()
    contact_id: UUID = key()


class CampaignRow(SQLModel, table=True):
    """One message to a whole audience, as it is now edited."""

    __tablename__ = "campaigns"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    name: str = must(Text)
    mode: str = must(Text)
    definition: dict[str, Any] = must(JSON)
    state: str = filled(Text)
    last_run: int = filled(Integer)
    next_at: datetime | None = may(AT)
    version: int = filled(Integer)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class CampaignRunRow(SQLModel, table=True):
    """One sending of a campaign, frozen."""

    __tablename__ = "campaign_runs"

    tenant_id: UUID = key()
    id: UUID = key()
    campaign_id: UUID = must(Uuid)
    number: int = must(Integer)
    kind: str = must(Text)
    based_on: UUID | None = may(Uuid)
    mode: str = must(Text)
    definition: dict[str, Any] = must(JSON)
    state: str = filled(Text)
    state_reason: str | None = may(Text)
    channel: str = must(Text)
    sender_id: UUID = must(Uuid)
    account_id: UUID = must(Uuid)
    topic_id: UUID | None = may(Uuid)
    scheduled_at: datetime = must(AT)
    prepared_at: datetime | None = may(AT)
    started_at: datetime | None = may(AT)
    ended_at: datetime | None = may(AT)
    approved_at: datetime | None = may(AT)
    approved_by: str | None = may(Text)
    audience: int | None = may(BigInteger)
    shards: int | None = may(Integer)
    open_cohort: int = filled(SmallInteger)
    winner: int | None = may(SmallInteger)
    decide_at: datetime | None = may(AT)
    released_at: datetime | None = may(AT)
    throttle_per_minute: int | None = may(Integer)
    throttle_tokens: float = filled(Double)
    throttle_filled_at: datetime | None = may(AT)
    driven_at: datetime | None = may(AT)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class RunTallyAdditionRow(SQLModel, table=True):
    """What changed in a run's counts and is not folded yet."""

    __tablename__ = "run_tally_additions"

    tenant_id: UUID = must(Uuid)
    run_id: UUID = key()
    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    variant: int = must(SmallInteger)
    at: datetime = filled(AT)
    sent: int = filled(Integer)
    maybe_sent: int = filled(Integer)
    failed: int = filled(Integer)
    suppressed: int = filled(Integer)
    skipped: int = filled(Integer)
    expired: int = filled(Integer)
    cancelled: int = filled(Integer)
    delivered: int = filled(Integer)
    opened: int = filled(Integer)
    machine_opened: int = filled(Integer)
    clicked: int = filled(Integer)
    bounced: int = filled(Integer)
    complained: int = filled(Integer)
    undeliverable: int = filled(Integer)
    unsubscribed: int = filled(Integer)
    converted: int = filled(Integer)


class RunTallyRow(SQLModel, table=True):
    """A run's counts by variant, over all time and by five minutes."""

    __tablename__ = "run_tallies"

    tenant_id: UUID = must(Uuid)
    run_id: UUID = key()
    variant: int = key(SmallInteger)
    bucket: datetime = key(AT)
    sent: int = filled(BigInteger)
    maybe_sent: int = filled(BigInteger)
    failed: int = filled(BigInteger)
    suppressed: int = filled(BigInteger)
    skipped: int = filled(BigInteger)
    expired: int = filled(BigInteger)
    cancelled: int = filled(BigInteger)
    delivered: int = filled(BigInteger)
    opened: int = filled(BigInteger)
    machine_opened: int = filled(BigInteger)
    clicked: int = filled(BigInteger)
    bounced: int = filled(BigInteger)
    complained: int = filled(BigInteger)
    undeliverable: int = filled(BigInteger)
    unsubscribed: int = filled(BigInteger)
    converted: int = filled(BigInteger)


class CapUsageRow(SQLModel, table=True):
    """When a contact was last written to: what frequency caps count."""

    __tablename__ = "cap_usage"

    tenant_id: UUID = key()
    contact_id: UUID = key()
    sent_at: list[datetime] = filled(ARRAY(AT))
    channels: list[str] = filled(ARRAY(Text))
    keep: timedelta = filled(Interval)
