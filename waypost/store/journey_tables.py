"""Journeys' tables as SQLModel sees them. The migrations make them, tests compare."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Boolean, Column, Date, Identity, Integer, SmallInteger, Text, Uuid
from sqlmodel import Field, SQLModel

from waypost.store.columns import AT, JSON, filled, key, may, must


class JourneyRow(SQLModel, table=True):
    """A journey: its draft, and what of it is published."""

    __tablename__ = "journeys"

    tenant_id: UUID = key()
    id: UUID = key()
    key: str = must(Text)
    name: str = must(Text)
    mode: str = must(Text)
    draft: str = must(Text)
    draft_revision: int = filled(Integer)
    state: str = filled(Text)
    version: int = filled(Integer)
    entering: int = filled(Integer)
    pauses: int = filled(Integer)
    entry_kind: str | None = may(Text)
    entry_event: str | None = may(Text)
    watches_contacts: bool = filled(Boolean)
    next_entry_at: datetime | None = may(AT)
    created_at: datetime = filled(AT)
    updated_at: datetime = filled(AT)


class JourneyVersionRow(SQLModel, table=True):
    """What was published, never changed."""

    __tablename__ = "journey_versions"

    tenant_id: UUID = key()
    id: UUID = key()
    journey_id: UUID = must(Uuid)
    number: int = must(Integer)
    source: str = must(Text)
    definition: dict[str, Any] = must(JSON)
    plan: str = must(Text)
    watches: list[str] = must(ARRAY(Text))
    conditions: bool = must(Boolean)
    published_at: datetime = filled(AT)
    published_by: str = must(Text)


class JourneyPauseRow(SQLModel, table=True):
    """A pause, and how it was ended."""

    __tablename__ = "journey_pauses"

    tenant_id: UUID = key()
    journey_id: UUID = key()
    number: int = key(Integer)
    paused_at: datetime = filled(AT)
    resumed_at: datetime | None = may(AT)
    policy: str | None = may(Text)
    woken_until: UUID | None = may(Uuid)


class EnrollmentRow(SQLModel, table=True):
    """One contact's run of a journey."""

    __tablename__ = "enrollments"

    tenant_id: UUID = key()
    id: UUID = key()
    journey_id: UUID = must(Uuid)
    version_id: UUID = must(Uuid)
    contact_id: UUID = must(Uuid)
    entry_key: str = filled(Text)
    number: int = must(Integer)
    mode: str = must(Text)
    source: str = must(Text)
    depth: int = filled(SmallInteger)
    state: str = filled(Text)
    data: dict[str, Any] = filled(JSON)
    step: str | None = may(Text)
    visits: int = filled(Integer)
    resting_since: datetime | None = may(AT)
    wakes_at: datetime | None = may(AT)
    awaits: list[str] = filled(ARRAY(Text))
    awaits_any: bool = filled(Boolean)
    place: dict[str, Any] = filled(JSON)
    pauses_seen: int = filled(Integer)
    paused_at: datetime | None = may(AT)
    entered_at: datetime = filled(AT)
    started_at: datetime | None = may(AT)
    decided_at: datetime | None = may(AT)
    ended_at: datetime | None = may(AT)
    how: str | None = may(Text)
    reason: str | None = may(Text)


class EnrollmentVisitRow(SQLModel, table=True):
    """A step that was taken."""

    __tablename__ = "enrollment_visits"

    tenant_id: UUID = key()
    enrollment_id: UUID = key()
    number: int = key(Integer)
    step: str = must(Text)
    kind: str = must(Text)
    entered_at: datetime = must(AT)
    left_at: datetime | None = may(AT)
    waited_until: datetime | None = may(AT)
    edge: str | None = may(Text)
    why: dict[str, Any] = filled(JSON)


class EnrollmentInboxRow(SQLModel, table=True):
    """What an enrollment is to be told."""

    __tablename__ = "enrollment_inbox"

    tenant_id: UUID = key()
    enrollment_id: UUID = key()
    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    at: datetime = filled(AT)
    kind: str = must(Text)
    event_id: UUID | None = may(Uuid)
    event_month: date | None = may(Date)
    detail: dict[str, Any] = filled(JSON)


class JourneyAuditRow(SQLModel, table=True):
    """Who did what to a journey or to one enrollment."""

    __tablename__ = "journey_audit"

    tenant_id: UUID = key()
    journey_id: UUID = key()
    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    enrollment_id: UUID | None = may(Uuid)
    at: datetime = filled(AT)
    action: str = must(Text)
    actor: str = must(Text)
    detail: dict[str, Any] = filled(JSON)


class JourneyWatchedRow(SQLModel, table=True):
    """A contact that is in a journey's segment, or when its date comes."""

    __tablename__ = "journey_watched"

    tenant_id: UUID = key()
    journey_id: UUID = key()
    contact_id: UUID = key()
    next_at: datetime | None = may(AT)


class ContactChangeRow(SQLModel, table=True):
    """A contact that journeys must look at again."""

    __tablename__ = "contact_changes"

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    tenant_id: UUID = must(Uuid)
    contact_id: UUID = must(Uuid)
    at: datetime = filled(AT)
