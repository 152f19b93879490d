"""Webhooks and their messages, in the tables that every service has. All of it is units of work."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mesh.clock import now_us
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.events import Event
from mesh.ids import new_id

from .message import Format, confirmation, written
from .posting import Answer
from .schedule import Schedule
from .signing import new_secret

__all__ = ["Delivery", "Webhook"]

CONFIRMED: Final = "confirmed"
PENDING: Final = "pending"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"

# How long messages carry a signature of the former secret, too.
_OVERLAP_US: Final = 24 * 3600 * 1_000_000
_KEEP_US: Final = 30 * 24 * 3600 * 1_000_000

_ADD = sql(
    "INSERT INTO webhooks (id, owner, created_by, request_id, url, types, format, max_per_second,"
    " status, token, secret, former_secret, former_until_us, created_at_us)"
    " VALUES (:id, :owner, :created_by, :request_id, :url, :types, :format, :max_per_second,"
    " 'pending', :token, :secret, '', 0, :created_at_us)"
    " ON CONFLICT (created_by, request_id) DO NOTHING"
)
_GET = sql("SELECT * FROM webhooks WHERE id = :id")
_REPEATED = sql("SELECT * FROM webhooks WHERE created_by = :user AND request_id = :request_id")
_OF_OWNER = sql("SELECT * FROM webhooks WHERE owner = :owner ORDER BY id DESC")
_COUNT = sql("SELECT COUNT(*) AS count FROM webhooks WHERE owner = :owner")
_DELETE = sql("DELETE FROM webhooks WHERE id = :id")
_DELETE_ALL = sql("DELETE FROM webhook_deliveries WHERE webhook_id = :id")
_CONFIRM = sql("UPDATE webhooks SET status = 'confirmed' WHERE id = :id")
_ROTATE = sql(
    "UPDATE webhooks SET former_secret = secret, former_until_us = :until_us, secret = :secret"
    " WHERE id = :id"
)
_OFFER = sql(
    "INSERT INTO webhook_deliveries (id, webhook_id, event_id, type, headers, body, status,"
    " attempts, failures, response_status, error, next_at_us, created_at_us)"
    " VALUES (:id, :webhook, :event, :type, :headers, :body, 'pending', 0, 0, 0, '', :now_us,"
    " :now_us) ON CONFLICT (webhook_id, event_id) DO NOTHING"
)
_DUE_WEBHOOKS = sql(
    "SELECT DISTINCT webhook_id FROM webhook_deliveries"
    " WHERE status = 'pending' AND next_at_us <= :now_us"
)
_NEXT_DUE = sql(
    "SELECT MIN(next_at_us) AS next_at_us FROM webhook_deliveries"
    " WHERE status = 'pending' AND next_at_us > :now_us"
)
_DUE = sql(
    "SELECT * FROM webhook_deliveries WHERE webhook_id = :webhook AND status = 'pending'"
    " AND next_at_us <= :now_us ORDER BY next_at_us, id LIMIT :most"
)
_SETTLE = sql(
    "UPDATE webhook_deliveries SET status = :status, attempts = attempts + 1,"
    " failures = :failures, response_status = :response, error = :error, next_at_us = :next_at_us"
    " WHERE id = :id AND status = 'pending'"
)
_DELIVERY = sql("SELECT * FROM webhook_deliveries WHERE webhook_id = :webhook AND id = :id")
_DELIVERIES = sql(
    "SELECT * FROM webhook_deliveries WHERE webhook_id = :webhook"
    " AND (:status = '' OR status = :status) AND (:before = '' OR id < :before)"
    " ORDER BY id DESC LIMIT :most"
)
_AGAIN = sql(
    "UPDATE webhook_deliveries SET status = 'pending', failures = 0, next_at_us = :now_us"
    " WHERE webhook_id = :webhook AND id = :id AND status <> 'pending'"
)
_PRUNE = sql(
    "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries"
    " WHERE status <> 'pending' AND created_at_us < :before_us LIMIT 1000)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A place outside. `types` are the names of the events that it is sent; none means all."""

    id: str = field(default_factory=new_id)
    owner: str
    created_by: str
    request_id: str
    url: str = field(repr=False)
    types: tuple[str, ...] = ()
    format: Format = "enveloped"
    max_per_second: int = 10
    status: str = PENDING
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    secret: str = field(default_factory=new_secret, repr=False)
    former_secret: str = field(default="", repr=False)
    former_until_us: int = 0
    created_at_us: int = field(default_factory=now_us)

    def keys(self, at_us: int) -> list[str]:
        """The secrets with which a message is signed at a time."""
        former = [self.former_secret] if at_us < self.former_until_us else []
        return [self.secret, *former]


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A message: `type` is empty for the one with the token, and `status` one of three."""

    id: str
    webhook_id: str
    event_id: str
    type: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    status: str
    attempts: int
    failures: int
    response_status: int
    error: str
    next_at_us: int
    created_at_us: int


async def add(work: UnitOfWork, webhook: Webhook, *, most: int) -> tuple[Webhook, bool]:
    """Keeps a webhook and has its token posted; or finds the one that was asked for before.

    Raises `FailedPrecondition` if its owner has so many already.
    """
    repeated = await work.fetch_one(
        _REPEATED, user=webhook.created_by, request_id=webhook.request_id
    )
    if repeated is not None:
        return _webhook(repeated), False
    count = await work.fetch_one(_COUNT, owner=webhook.owner)
    if count is not None and count["count"] >= most:
        raise FailedPrecondition("TOO_MANY_WEBHOOKS", f"There may be {most} webhooks.")
    await work.execute(
        _ADD,
        id=webhook.id,
        owner=webhook.owner,
        created_by=webhook.created_by,
        request_id=webhook.request_id,
        url=webhook.url,
        types=json.dumps(webhook.types),
        format=webhook.format,
        max_per_second=webhook.max_per_second,
        token=webhook.token,
        secret=webhook.secret,
        created_at_us=webhook.created_at_us,
    )
    await _put(work, webhook.id, webhook.id, "", confirmation(webhook.id, webhook.token))
    return webhook, True


async def get(work: UnitOfWork, webhook_id: str) -> Webhook:
    """Finds a webhook. Raises `NotFound`."""
    row = await work.fetch_one(_GET, id=webhook_id)
    if row is None:
        raise NotFound("WEBHOOK_NOT_FOUND", "There is no such webhook.")
    return _webhook(row)


async def owned_by(work: UnitOfWork, owner: str) -> list[Webhook]:
    """Lists the webhooks of an owner, the newest first."""
    return [_webhook(row) for row in await work.fetch_all(_OF_OWNER, owner=owner)]


async def delete(work: UnitOfWork, webhook_id: str) -> None:
    """Ends a webhook, with all its messages."""
    await work.execute(_DELETE_ALL, id=webhook_id)
    await work.execute(_DELETE, id=webhook_id)


async def confirm(work: UnitOfWork, webhook_id: str, token: str) -> Webhook:
    """Takes the token back. Raises `InvalidArgument` for another one."""
    webhook = await get(work, webhook_id)
    if not hmac.compare_digest(webhook.token.encode(), token.encode()):
        raise InvalidArgument("TOKEN_INVALID", "This is not the token that was posted.")
    await work.execute(_CONFIRM, id=webhook_id)
    return await get(work, webhook_id)


async def rotate(work: UnitOfWork, webhook_id: str) -> Webhook:
    """Gives a webhook another secret, and keeps the former one for a day."""
    until_us = now_us() + _OVERLAP_US
    await work.execute(_ROTATE, id=webhook_id, secret=new_secret(), until_us=until_us)
    return await get(work, webhook_id)


async def offer(work: UnitOfWork, event: Event[Any], owner: str, name: str) -> int:
    """Keeps a message for each confirmed webhook of an owner that wants the event; counts them.

    `name` is what the event is called outside. Offering it again adds nothing.
    """
    offered = 0
    for webhook in await owned_by(work, owner):
        if webhook.status == CONFIRMED and (not webhook.types or name in webhook.types):
            message = written(event, name, webhook.format)
            offered += await _put(work, webhook.id, event.id, name, message)
    return offered


async def deliveries(
    work: UnitOfWork, webhook_id: str, status: str, before: str, most: int
) -> list[Delivery]:
    """Lists messages of a webhook, the newest first; empty means any."""
    rows = await work.fetch_all(
        _DELIVERIES, webhook=webhook_id, status=status, before=before, most=most
    )
    return [_delivery(row) for row in rows]


async def deliver_again(work: UnitOfWork, webhook_id: str, delivery_id: str) -> Delivery:
    """Gives a message its whole schedule again. Raises `NotFound`."""
    await work.execute(_AGAIN, webhook=webhook_id, id=delivery_id, now_us=now_us())
    row = await work.fetch_one(_DELIVERY, webhook=webhook_id, id=delivery_id)
    if row is None:
        raise NotFound("DELIVERY_NOT_FOUND", "There is no such message.")
    return _delivery(row)


async def due_webhooks(work: UnitOfWork) -> list[str]:
    """Lists the webhooks that have messages to be posted now."""
    return [row["webhook_id"] for row in await work.fetch_all(_DUE_WEBHOOKS, now_us=now_us())]


async def next_due_us(work: UnitOfWork) -> int | None:
    """Tells when the next message is to be posted that is not yet."""
    row = await work.fetch_one(_NEXT_DUE, now_us=now_us())
    next_at_us: int | None = None if row is None else row["next_at_us"]
    return next_at_us


async def due(
    work: UnitOfWork, webhook_id: str, most: int
) -> tuple[Webhook | None, Sequence[Delivery]]:
    """Gives a webhook, and messages of it that are to be posted now."""
    row = await work.fetch_one(_GET, id=webhook_id)
    if row is None:
        return None, ()
    rows = await work.fetch_all(_DUE, webhook=webhook_id, now_us=now_us(), most=most)
    return _webhook(row), [_delivery(each) for each in rows]


async def settle(
    work: UnitOfWork, webhook: Webhook, delivery: Delivery, answer: Answer, schedule: Schedule
) -> str:
    """Keeps what became of a try, and tells how far the message is."""
    failures, pause_s = delivery.failures, None
    if answer.is_taken:
        status = DELIVERED
        if not delivery.type and _echoes(answer.body, webhook.token):
            await work.execute(_CONFIRM, id=webhook.id)
    else:
        failures += 1
        pause_s = None if answer.is_final else schedule.pause_s(failures)
        status = DEAD if pause_s is None else PENDING
    await work.execute(
        _SETTLE,
        id=delivery.id,
        status=status,
        failures=failures,
        response=answer.status,
        error=answer.error,
        next_at_us=now_us() + round((pause_s or 0.0) * 1_000_000),
    )
    return status


async def prune(work: UnitOfWork) -> None:
    """Forgets messages that are done with and older than thirty days."""
    await work.execute(_PRUNE, before_us=now_us() - _KEEP_US)


async def _put(
    work: UnitOfWork,
    webhook_id: str,
    event_id: str,
    name: str,
    message: tuple[bytes, dict[str, str]],
) -> int:
    body, headers = message
    return await work.execute(
        _OFFER,
        id=new_id(),
        webhook=webhook_id,
        event=event_id,
        type=name,
        headers=json.dumps(headers),
        body=body,
        now_us=now_us(),
    )


def _echoes(body: bytes, token: str) -> bool:
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and hmac.compare_digest(
        str(answer.get("token", "")).encode(), token.encode()
    )


def _webhook(row: Row) -> Webhook:
    return Webhook(**{**dict(row), "types": tuple(json.loads(row["types"]))})


def _delivery(row: Row) -> Delivery:
    return Delivery(**{**dict(row), "headers": json.loads(row["headers"])})
