"""Who is told what, and how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from mesh.errors import NotFound
from mesh.ids import new_id

PAGE_SIZE = 50


class Kind(StrEnum):
    """What a message is about. The names are stored, and known to apps."""

    CONFIRMATION = "CONFIRMATION"
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - not a password
    INVITATION = "INVITATION"
    NEW_DEVICE = "NEW_DEVICE"
    MEMBERSHIP_CHANGED = "MEMBERSHIP_CHANGED"
    TRANSFER_COMPLETED = "TRANSFER_COMPLETED"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    SCHEDULED_TRANSFER_FAILED = "SCHEDULED_TRANSFER_FAILED"
    TRANSFER_CANCELLED = "TRANSFER_CANCELLED"
    TRANSFER_RETURNED = "TRANSFER_RETURNED"
    APPROVAL_NEEDED = "APPROVAL_NEEDED"
    TRANSFER_APPROVED = "TRANSFER_APPROVED"
    TRANSFER_REJECTED = "TRANSFER_REJECTED"
    APPROVAL_EXPIRED = "APPROVAL_EXPIRED"
    PIX_RECEIVED = "PIX_RECEIVED"
    PIX_RETURNED = "PIX_RETURNED"
    PIX_RETURN_FAILED = "PIX_RETURN_FAILED"
    PIX_KEY_REGISTERED = "PIX_KEY_REGISTERED"
    PIX_KEY_REMOVED = "PIX_KEY_REMOVED"
    PIX_KEY_CLAIMED = "PIX_KEY_CLAIMED"
    ACCOUNT_BLOCKED = "ACCOUNT_BLOCKED"
    ACCOUNT_UNBLOCKED = "ACCOUNT_UNBLOCKED"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    TICKET_ANSWERED = "TICKET_ANSWERED"
    DIGEST = "DIGEST"


# Sent by e-mail alone: who reads the list of their messages has no use for a code.
CODES = frozenset({Kind.CONFIRMATION, Kind.PASSWORD_RESET, Kind.INVITATION})


class Status(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    UNDELIVERABLE = "undeliverable"


class Language(StrEnum):
    """A language that messages are written in. The values are stored; RFC 5646 has them."""

    PORTUGUESE = "pt-BR"
    ENGLISH = "en"


@dataclass(frozen=True)
class Contact:
    """Where somebody is reached, and the code that the message to them carries, if any."""

    email: str = field(repr=False)
    full_name: str = field(repr=False)
    code: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """An e-mail about a message."""

    id: str = field(default_factory=new_id)
    message_id: str
    kind: Kind
    to: str = field(repr=False)
    subject: str
    body: str = field(repr=False)
    code: str = field(repr=False)
    sent_at_us: int
    language: Language = Language.PORTUGUESE


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a user is told because of one event, and by which channels.

    Who is invited is no user yet: `user_id` is then the invitation's. `digest_at_us` is when the
    summary is sent that tells it; None: none does.
    """

    id: str = field(default_factory=new_id)
    event_id: str
    user_id: str
    kind: Kind
    subject: str
    body: str
    language: Language = Language.PORTUGUESE
    transfer_id: str = ""
    ticket_id: str = ""
    created_at_us: int
    in_app: bool = True
    by_mail: bool = True
    digest_at_us: int | None = None
    read_at_us: int | None = None
    status: Status = Status.PENDING

    @property
    def needs_code(self) -> bool:
        return self.kind in CODES

    def sent(self) -> Message:
        return replace(self, status=Status.SENT)

    def undeliverable(self) -> Message:
        return replace(self, status=Status.UNDELIVERABLE)


class Mailer(Protocol):
    """Delivers a message by e-mail. Asking twice for the same message leaves one e-mail."""

    async def deliver(self, message: Message) -> None: ...


def no_such_message() -> NotFound:
    return NotFound("NOTIFICATION_NOT_FOUND", "There is no such message.")
