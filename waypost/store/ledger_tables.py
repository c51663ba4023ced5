"""The ledger's tables as SQLModel sees them; tables.py has the resources'. The migrations make them, tests compare."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Boolean, Column, Date, Integer, Interval, LargeBinary, SmallInteger, Text, Uuid
from sqlmodel import Field, SQLModel

from waypost.store.columns import AT, JSON, filled, key, may, must, numbered


class RequestRow(SQLModel, table=True):
    """Who asked for what under which idempotency key."""

    __tablename__ = "requests"

    tenant_id: UUID = key()
    id: UUID = key()
    idempotency_key: str = must(Text)
    generation: int = filled(Integer)
    body_hash: bytes = must(LargeBinary)
    message_id: UUID = must(Uuid)
    created_at: datetime = filled(AT)
    expires_at: datetime = must(AT)


class MessageRow(SQLModel, table=True):
    """One thing to be sent to one address: the ledger's row."""

    __tablename__ = "messages"

    tenant_id: UUID = key()
    id: UUID = key()
    source: str = must(Text)
    source_id: UUID = must(Uuid)
    part: str = filled(Text)
    primary_id: UUID | None = may(Uuid)
    lane: str = must(Text)
    class_: str = Field(sa_column=Column("class", Text, nullable=False))
    mode: str = must(Text)
    channel: str = must(Text)
    contact_id: UUID | None = may(Uuid)
    address: str = must(Text)
    sender_id: UUID = must(Uuid)
    account_id: UUID = must(Uuid)
    template_id: UUID | None = may(Uuid)
    template_version: int | None = may(Integer)
    payload: dict[str, Any] | None = may(JSON)
    tags: list[str] | None = may(ARRAY(Text))
    metadata_: dict[str, Any] | None = Field(default=None, sa_column=Column("metadata", JSON, nullable=True))
    fallback_after: timedelta | None = may(Interval)
    unknown_policy: str | None = may(Text)
    phase: str = filled(Text)
    hold_reason: str | None = may(Text)
    due_at: datetime | None = may(AT)
    send_at: datetime | None = may(AT)
    late_approved_at: datetime | None = may(AT)
    expires_at: datetime = must(AT)
    dispatched_at: datetime | None = may(AT)
    dispatches: int = filled(Integer)
    attempts: int = filled(Integer)
    cancel_requested_at: datetime | None = may(AT)
    outcome: str | None = may(Text)
    outcome_reason: str | None = may(Text)
    outcome_at: datetime | None = may(AT)
    delivery: str = filled(Text)
    bounced: bool = filled(Boolean)
    complained: bool = filled(Boolean)
    undeliverable: bool = filled(Boolean)
    created_at: datetime = filled(AT)
    run_id: UUID | None = may(Uuid)
    shard: int | None = may(SmallInteger)
    cohort: int | None = may(SmallInteger)
    variant: int | None = may(SmallInteger)
    machine_opened: bool = filled(Boolean)
    unsubscribed: bool = filled(Boolean)
    converted: bool = filled(Boolean)
    enrollment_id: UUID | None = may(Uuid)
    topic_id: UUID | None = may(Uuid)


class AttemptRow(SQLModel, table=True):
    """One try to hand a message to a provider."""

    __tablename__ = "attempts"

    tenant_id: UUID = key()
    id: UUID = key()
    message_id: UUID = must(Uuid)
    number: int = must(Integer)
    account_id: UUID = must(Uuid)
    state: str = filled(Text)
    claimed_at: datetime = must(AT)
    recorded_at: datetime | None = may(AT)
    provider_message_id: str | None = may(Text)
    code: str | None = may(Text)
    content_hash: bytes | None = may(LargeBinary)
    process: str = must(Text)
    resolution: str | None = may(Text)
    resolved_at: datetime | None = may(AT)
    send_event_at: datetime | None = may(AT)
    looked_up_at: datetime | None = may(AT)
    dup_accept: bool = filled(Boolean)
    month: date = key(Date)


class ProbeRow(SQLModel, table=True):
    """A message that a quiet account sends to the mailbox simulator."""

    __tablename__ = "probes"

    id: UUID = key()
    account_id: UUID = must(Uuid)
    state: str = filled(Text)
    claimed_at: datetime = filled(AT)
    send_event_at: datetime | None = may(AT)
    code: str | None = may(Text)


class VerdictRow(SQLModel, table=True):
    """A verdict of the gate that was not a plain "send"."""

    __tablename__ = "verdicts"

    tenant_id: UUID = key()
    message_id: UUID = key()
    id: int | None = numbered()
    at: datetime = filled(AT)
    verdict: str = must(Text)
    reason: str = must(Text)
    outcome: str | None = may(Text)
    until: datetime | None = may(AT)


class ProviderEventRow(SQLModel, table=True):
    """A raw provider event."""

    __tablename__ = "provider_events"

    id: int | None = numbered()
    account_id: UUID = must(Uuid)
    event_id: str = must(Text)
    kind: str = must(Text)
    tenant_id: UUID | None = may(Uuid)
    message_id: UUID | None = may(Uuid)
    attempt_id: UUID | None = may(Uuid)
    provider_message_id: str | None = may(Text)
    recipient: str | None = may(Text)
    permanent: bool = filled(Boolean)
    machine: bool = filled(Boolean)
    code: str | None = may(Text)
    occurred_at: datetime = must(AT)
    received_at: datetime = filled(AT)
    applied_at: datetime | None = may(AT)
    apply_error: str | None = may(Text)
    raw: str = must(Text)
    month: date = key(Date)


class InboundMessageRow(SQLModel, table=True):
    """A text that somebody sent to a number of ours."""

    __tablename__ = "inbound_messages"

    account_id: UUID = key()
    provider_message_id: str = key(Text)
    tenant_id: UUID | None = may(Uuid)
    channel: str = must(Text)
    from_address: str = must(Text)
    to_address: str = must(Text)
    keyword: str | None = may(Text)
    body: str = must(Text)
    received_at: datetime = filled(AT)


class OutboxRow(SQLModel, table=True):
    """A hint for a waiting execution."""

    __tablename__ = "outbox"

    id: int | None = numbered()
    workflow_id: str = must(Text)
    signal: str = must(Text)
    created_at: datetime = filled(AT)


class AlertRow(SQLModel, table=True):
    """Something a person should look at."""

    __tablename__ = "alerts"

    id: int | None = numbered()
    rule: str = must(Text)
    subject: str = must(Text)
    since: datetime = filled(AT)
    seen_at: datetime = filled(AT)
    ended_at: datetime | None = may(AT)
    evidence: dict[str, Any] = filled(JSON)
    advice: str = must(Text)


class WorkerProcessRow(SQLModel, table=True):
    """A worker process that beats."""

    __tablename__ = "worker_processes"

    id: UUID = key()
    lane: str = must(Text)
    host: str = must(Text)
    pid: int = must(Integer)
    started_at: datetime = filled(AT)
    beat_at: datetime = filled(AT)
