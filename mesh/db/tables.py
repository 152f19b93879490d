"""The mesh's own tables, which every service has in its own database.

They are declared here for the migrations to be checked against; the code that uses them speaks SQL.
Times are microseconds since 1970, UTC.
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Index, Integer, MetaData, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

__all__ = [
    "Audit",
    "Cursor",
    "DeadLetter",
    "DeadLetterHistory",
    "EventStream",
    "EventSubscription",
    "Inbox",
    "InboxVersion",
    "Lease",
    "MeshTable",
    "Outbox",
    "Saga",
    "SagaStep",
    "ScheduledEvent",
    "WebhookDelivery",
    "WebhookRow",
]


class MeshTable(SQLModel):
    """The base of the mesh's tables, which are kept apart from those of the services."""

    metadata: ClassVar[MetaData] = MetaData()


class Outbox(MeshTable, table=True):
    """Events that were committed with the change they report; `sent_at_us` is null until acked."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "outbox_unsent",
            "id",
            sqlite_where=text("sent_at_us IS NULL"),
            postgresql_where=text("sent_at_us IS NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    # Only an INTEGER is a rowid to SQLite, where it has 64 bits anyway.
    id: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
    )
    event_id: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    headers: str = Field(sa_type=Text)
    payload: bytes
    created_at_us: int = Field(sa_type=BigInteger)
    sent_at_us: int | None = Field(default=None, sa_type=BigInteger)


class Inbox(MeshTable, table=True):
    """Events that a reaction has applied: a repeat finds its row, and does nothing."""

    __tablename__ = "inbox"

    consumer: str = Field(primary_key=True, sa_type=Text)
    event_id: str = Field(primary_key=True, sa_type=Text)
    applied_at_us: int = Field(sa_type=BigInteger)


class InboxVersion(MeshTable, table=True):
    """The version of each key that a reaction has applied last."""

    __tablename__ = "inbox_versions"

    consumer: str = Field(primary_key=True, sa_type=Text)
    key: str = Field(primary_key=True, sa_type=Text)
    version: int = Field(sa_type=BigInteger)


class Cursor(MeshTable, table=True):
    """How far a projection has read a stream."""

    __tablename__ = "cursors"

    projection: str = Field(primary_key=True, sa_type=Text)
    stream: str = Field(primary_key=True, sa_type=Text)
    sequence: int = Field(sa_type=BigInteger)


class Saga(MeshTable, table=True):
    """A saga: `running` until it is `done`. Whoever holds the lease runs it."""

    __tablename__ = "sagas"
    __table_args__ = (
        Index(
            "sagas_running",
            "due_at_us",
            sqlite_where=text("status = 'running'"),
            postgresql_where=text("status = 'running'"),
        ),
    )

    saga: str = Field(primary_key=True, sa_type=Text)
    entity_id: str = Field(primary_key=True, sa_type=Text)
    status: str = Field(sa_type=Text)
    due_at_us: int = Field(sa_type=BigInteger)
    attempts: int = Field(sa_type=Integer)
    owner: str = Field(sa_type=Text)
    lease_until_us: int = Field(sa_type=BigInteger)
    traceparent: str = Field(sa_type=Text)
    started_at_us: int = Field(sa_type=BigInteger)
    ended_at_us: int | None = Field(default=None, sa_type=BigInteger)


class SagaStep(MeshTable, table=True):
    """The answer to a step: `done`, or `refused` with a reason and a message."""

    __tablename__ = "saga_steps"

    saga: str = Field(primary_key=True, sa_type=Text)
    entity_id: str = Field(primary_key=True, sa_type=Text)
    step: str = Field(primary_key=True, sa_type=Text)
    outcome: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    message: str = Field(sa_type=Text)


class DeadLetter(MeshTable, table=True):
    """An event that a reaction could not apply, parked for a person to look at."""

    __tablename__ = "dead_letters"

    consumer: str = Field(primary_key=True, sa_type=Text)
    event_id: str = Field(primary_key=True, sa_type=Text)
    stream: str = Field(sa_type=Text)
    sequence: int = Field(sa_type=BigInteger)
    type: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    payload: bytes
    headers: str = Field(sa_type=Text)
    error: str = Field(sa_type=Text)
    attempts: int = Field(sa_type=Integer)
    parked_at_us: int = Field(sa_type=BigInteger)


class DeadLetterHistory(MeshTable, table=True):
    """What a person did with a dead letter, and the letter as it was before."""

    __tablename__ = "dead_letter_history"
    __table_args__ = (
        Index("dead_letter_history_event", "consumer", "event_id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
    )
    action: str = Field(sa_type=Text)
    actor: str = Field(sa_type=Text)
    note: str = Field(sa_type=Text)
    acted_at_us: int = Field(sa_type=BigInteger)
    consumer: str = Field(sa_type=Text)
    event_id: str = Field(sa_type=Text)
    stream: str = Field(sa_type=Text)
    sequence: int = Field(sa_type=BigInteger)
    type: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    payload: bytes
    headers: str = Field(sa_type=Text)
    error: str = Field(sa_type=Text)
    attempts: int = Field(sa_type=Integer)
    parked_at_us: int = Field(sa_type=BigInteger)


class ScheduledEvent(MeshTable, table=True):
    """An event that is told later: it moves to the outbox when it is due."""

    __tablename__ = "scheduled_events"
    __table_args__ = (Index("scheduled_events_due", "due_at_us"),)

    event_id: str = Field(primary_key=True, sa_type=Text)
    due_at_us: int = Field(sa_type=BigInteger)
    subject: str = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    key: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    headers: str = Field(sa_type=Text)
    payload: bytes
    created_at_us: int = Field(sa_type=BigInteger)


class EventSubscription(MeshTable, table=True):
    """What an operator has set for a subscription; without a row it is what the code says."""

    __tablename__ = "event_subscriptions"

    name: str = Field(primary_key=True, sa_type=Text)
    concurrency: int = Field(sa_type=Integer)
    changed_by: str = Field(sa_type=Text)
    changed_at_us: int = Field(sa_type=BigInteger)


class EventStream(MeshTable, table=True):
    """The last event that a stream of this service has taken: it must be found there again."""

    __tablename__ = "event_streams"

    stream: str = Field(primary_key=True, sa_type=Text)
    sequence: int = Field(sa_type=BigInteger)
    event_id: str = Field(sa_type=Text)


class WebhookRow(MeshTable, table=True):
    """A place outside to which events are posted. Secrets are kept as they are: they sign."""

    __tablename__ = "webhooks"
    __table_args__ = (
        UniqueConstraint("created_by", "request_id", name="webhooks_request"),
        Index("webhooks_owner", "owner", "id"),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    owner: str = Field(sa_type=Text)
    created_by: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Text)
    url: str = Field(sa_type=Text)
    types: str = Field(sa_type=Text)
    format: str = Field(sa_type=Text)
    max_per_second: int = Field(sa_type=Integer)
    status: str = Field(sa_type=Text)
    token: str = Field(sa_type=Text)
    secret: str = Field(sa_type=Text)
    former_secret: str = Field(sa_type=Text)
    former_until_us: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)


class WebhookDelivery(MeshTable, table=True):
    """A message to a webhook, `pending` until it is `delivered` or `dead`."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id", name="webhook_deliveries_event"),
        Index("webhook_deliveries_webhook", "webhook_id", "id"),
        Index(
            "webhook_deliveries_due",
            "webhook_id",
            "next_at_us",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    webhook_id: str = Field(sa_type=Text)
    event_id: str = Field(sa_type=Text)
    type: str = Field(sa_type=Text)
    headers: str = Field(sa_type=Text)
    body: bytes
    status: str = Field(sa_type=Text)
    attempts: int = Field(sa_type=Integer)
    failures: int = Field(sa_type=Integer)
    response_status: int = Field(sa_type=Integer)
    error: str = Field(sa_type=Text)
    next_at_us: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)


class Audit(MeshTable, table=True):
    """Who has changed something, and what (`mesh.audit`). Its seal comes soon after."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(
            "audit_waiting",
            "id",
            sqlite_where=text("number IS NULL"),
            postgresql_where=text("number IS NULL"),
        ),
        Index("audit_number", "number", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer, "sqlite"),
    )
    at_us: int = Field(sa_type=BigInteger)
    actor_id: str = Field(sa_type=Text)
    session_id: str = Field(sa_type=Text)
    workload: str = Field(sa_type=Text)
    method: str = Field(sa_type=Text)
    subject_id: str = Field(sa_type=Text)
    company_id: str = Field(sa_type=Text)
    outcome: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    trace_id: str = Field(sa_type=Text)
    digest: bytes
    number: int | None = Field(default=None, sa_type=BigInteger)
    previous: bytes | None = None
    seal: bytes | None = None


class Lease(MeshTable, table=True):
    """What only one process may do at a time, such as relaying, and who does it until when."""

    __tablename__ = "leases"

    name: str = Field(primary_key=True, sa_type=Text)
    owner: str = Field(sa_type=Text)
    until_us: int = Field(sa_type=BigInteger)
