"""The resources' tables as SQLModel sees them; ledger_tables.py has the rest. Migrations make them, tests compare."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, REAL, BigInteger, Boolean, Date, Double, Integer, Interval, LargeBinary, Text, Uuid
from sqlmodel import SQLModel

from waypost.store.columns import AT, JSON, filled, key, may, must


class TenantRow(SQLModel, table=True):
    """An isolated sender."""

    __tablename__ = "tenants"

    id: UUID = key()
    name: str = must(Text)
    state: str = filled(Text)
    placement: str = filled(Text)
    weight: float = filled(REAL)
    window_fast: int = filled(Integer)
    window_bulk: int = filled(Integer)
    requests_per_second: int = filled(Integer)
    backlog_bound: int = filled(Integer)
    unknown_policy: str = filled(Text)
    late_policy: str = filled(Text)
    late_after: timedelta = filled(Interval)
    soft_bounce_limit: int = filled(Integer)
    idempotency_retention: timedelta = filled(Interval)
    version: int = filled(Integer)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)
    state_changed_at: datetime = filled(AT)
    time_zone: str = filled(Text)
    quiet_hours: dict[str, Any] | None = may(JSON)
    frequency_caps: list[dict[str, Any]] = filled(JSON)
    approval_over: int | None = may(Integer)
    message_retention_days: int | None = may(Integer)
    event_retention_days: int | None = may(Integer)
    double_opt_in_template: UUID | None = may(Uuid)


class ApiKeyRow(SQLModel, table=True):
    """A key of a tenant; the secret is kept as its SHA-256."""

    __tablename__ = "api_keys"

    tenant_id: UUID = key()
    id: UUID = key()
    key_id: str = must(Text)
    name: str = must(Text)
    mode: str = must(Text)
    secret_hash: bytes = must(LargeBinary)
    scopes: list[str] = must(ARRAY(Text))
    created_at: datetime = filled(AT)
    expires_at: datetime | None = may(AT)
    revoked_at: datetime | None = may(AT)
    last_used_at: datetime | None = may(AT)
    rotated_from: UUID | None = may(Uuid)


class ProviderAccountRow(SQLModel, table=True):
    """An SES or Twilio account; `credentials` is a reference, never a plain secret."""

    __tablename__ = "provider_accounts"

    id: UUID = key()
    name: str = must(Text)
    kind: str = must(Text)
    mode: str = must(Text)
    region: str = filled(Text)
    endpoint: str | None = may(Text)
    credentials: dict[str, Any] = must(JSON)
    feed: str = must(Text)
    topic_arn: str | None = may(Text)
    certificate_origin: str | None = may(Text)
    queue_url: str | None = may(Text)
    callback_base: str | None = may(Text)
    rate_per_second: float = filled(REAL)
    daily_quota: int | None = may(BigInteger)
    fast_share: float = filled(REAL)
    state: str = filled(Text)
    pause_reason: str | None = may(Text)
    paused_at: datetime | None = may(AT)
    resume_at: datetime | None = may(AT)
    version: int = filled(Integer)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class AccountBudgetRow(SQLModel, table=True):
    """The send budget of an account."""

    __tablename__ = "account_budgets"

    account_id: UUID = key()
    tokens: float = filled(Double)
    filled_at: datetime = filled(AT)
    day: date = filled(Date)
    used_today: int = filled(BigInteger)
    slow_until: datetime | None = may(AT)
    slow_factor: float = filled(REAL)


class FeedRow(SQLModel, table=True):
    """What is known of an account's feed."""

    __tablename__ = "feeds"

    account_id: UUID = key()
    last_event_at: datetime | None = may(AT)
    last_polled_at: datetime | None = may(AT)
    last_empty_at: datetime | None = may(AT)
    last_error: str | None = may(Text)
    silent_since: datetime | None = may(AT)
    last_probe_at: datetime | None = may(AT)


class SenderRow(SQLModel, table=True):
    """A From address or number, and the account it goes through."""

    __tablename__ = "senders"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    channel: str = must(Text)
    address: str = must(Text)
    name: str | None = may(Text)
    reply_to: str | None = may(Text)
    account_id: UUID = must(Uuid)
    mode: str = must(Text)
    configuration_set: str | None = may(Text)
    messaging_service: str | None = may(Text)
    is_default: bool = filled(Boolean)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class ContactRow(SQLModel, table=True):
    """A person a tenant may write to."""

    __tablename__ = "contacts"

    tenant_id: UUID = key()
    id: UUID = key()
    external_id: str = must(Text)
    email: str | None = may(Text)
    phone: str | None = may(Text)
    time_zone: str | None = may(Text)
    locale: str | None = may(Text)
    attributes: dict[str, Any] = filled(JSON)
    consent: dict[str, Any] = filled(JSON)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class SuppressionRow(SQLModel, table=True):
    """An address that no message may go to."""

    __tablename__ = "suppressions"

    tenant_id: UUID = key()
    id: UUID = key()
    channel: str = must(Text)
    address: str = must(Text)
    reason: str = must(Text)
    note: str | None = may(Text)
    message_id: UUID | None = may(Uuid)
    created_at: datetime = filled(AT)


class SoftBounceRow(SQLModel, table=True):
    """Soft bounces of an address in a row."""

    __tablename__ = "soft_bounces"

    tenant_id: UUID = key()
    channel: str = key(Text)
    address: str = key(Text)
    count: int = must(Integer)
    last_at: datetime = must(AT)


class TemplateRow(SQLModel, table=True):
    """A template; its content is in its versions."""

    __tablename__ = "templates"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    channel: str = must(Text)
    current_version: int = must(Integer)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class TemplateVersionRow(SQLModel, table=True):
    """One immutable version of a template's content."""

    __tablename__ = "template_versions"

    tenant_id: UUID = key()
    template_id: UUID = key()
    version: int = key(Integer)
    content: dict[str, Any] = must(JSON)
    content_hash: bytes = must(LargeBinary)
    created_at: datetime = filled(AT)
