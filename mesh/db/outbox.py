"""What a unit of work leaves behind beside its own rows: events to be told, sagas to be run, and
who has had it done.

All are rows, written in the unit's transaction. The relay reads the first, the saga runner the
second, the audit the third.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.message import Message

from .statement import sql

if TYPE_CHECKING:
    from .unit import Row, UnitOfWork

__all__ = ["Envelope", "NewSaga", "Seal", "Witness", "envelope_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """An event as it is kept and sent: CloudEvents headers around a serialized message."""

    event_id: str
    subject: str
    type: str
    key: str
    version: int
    headers: Mapping[str, str]
    payload: bytes
    created_at_us: int


@dataclass(slots=True)
class NewSaga:
    """A saga that a unit of work starts.

    `entity` is what it is about, as the unit leaves it; None if the unit does not say, or if the
    saga was started before, so that it may have come any way since.
    """

    saga: str
    entity_id: str
    due_at_us: int
    traceparent: str
    started_at_us: int
    entity: Any = None

    def row(self) -> tuple[object, ...]:
        """The arguments of `START_SAGA`, in order."""
        return (
            self.saga,
            self.entity_id,
            self.due_at_us,
            self.traceparent,
            self.started_at_us,
        )


Seal: TypeAlias = Callable[[Message, int, Mapping[str, str]], Envelope]
"""Puts an event, its version and its attributes into an envelope. Called in the context of the unit
of work."""

Witness: TypeAlias = "Callable[[UnitOfWork, Sequence[Message]], tuple[object, ...] | None]"
"""Makes a record, the arguments of `KEEP_RECORD`, of a unit of work and the events that it told;
None where nobody has to answer for it. Called in the context of the unit of work."""

KEEP_RECORD = sql(
    "INSERT INTO audit (at_us, actor_id, session_id, workload, method, subject_id, company_id,"
    " outcome, reason, trace_id, digest) VALUES (:at_us, :actor_id, :session_id, :workload,"
    " :method, :subject_id, :company_id, :outcome, :reason, :trace_id, :digest)"
)

KEEP_EVENT = sql(
    "INSERT INTO outbox"
    " (event_id, subject, type, key, version, headers, payload, created_at_us)"
    " VALUES (:event_id, :subject, :type, :key, :version, :headers, :payload, :created_at_us)"
)

KEEP_SCHEDULED = sql(
    "INSERT INTO scheduled_events"
    " (event_id, subject, type, key, version, headers, payload, created_at_us, due_at_us)"
    " VALUES (:event_id, :subject, :type, :key, :version, :headers, :payload, :created_at_us,"
    " :due_at_us)"
)

# A saga that was started before is left as it is: the door that starts it may be knocked on twice.
START_SAGA = sql(
    "INSERT INTO sagas (saga, entity_id, status, due_at_us, attempts, owner, lease_until_us,"
    " traceparent, started_at_us)"
    " VALUES (:saga, :entity_id, 'running', :due_at_us, 0, '', 0, :traceparent, :started_at_us)"
    " ON CONFLICT (saga, entity_id) DO NOTHING"
)


def event_row(envelope: Envelope) -> tuple[object, ...]:
    """The arguments of `KEEP_EVENT`, in order."""
    return (
        envelope.event_id,
        envelope.subject,
        envelope.type,
        envelope.key,
        envelope.version,
        json.dumps(dict(envelope.headers), separators=(",", ":")),
        envelope.payload,
        envelope.created_at_us,
    )


def envelope_of(row: Row) -> Envelope:
    """Makes the envelope again of a row of the outbox."""
    return Envelope(
        event_id=row["event_id"],
        subject=row["subject"],
        type=row["type"],
        key=row["key"],
        version=row["version"],
        headers=json.loads(row["headers"]),
        payload=row["payload"],
        created_at_us=row["created_at_us"],
    )
