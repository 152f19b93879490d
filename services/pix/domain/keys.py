"""Keys of accounts, and claims on them, by the rules of the directory (DICT). No gRPC, NATS or SQL.

A company's account has up to twenty keys, a person's up to five. A claim moves a key that somebody
else has registered: by portability, which is the same holder's wish, or by ownership, when a phone
number or an address has come to belong to somebody else. The holder has seven days to answer. One
who does not, keeps the key under portability, and loses it under ownership; a last objection is
heard until the fourteenth day, and after the thirtieth the claim lapses.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Protocol

from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Violation,
)

from .payments import Key, KeyKind
from .rail import Holder

MOST_KEYS = 20
MOST_KEYS_OF_A_PERSON = 5

DAY_US = timedelta(days=1) // timedelta(microseconds=1)
RESOLUTION_US = 7 * DAY_US
OBJECTION_US = 14 * DAY_US
LAPSE_US = 30 * DAY_US

CODE_LIFE_US = timedelta(minutes=15) // timedelta(microseconds=1)
CODE_TRIES = 5

# The directory's bucket against scanning, for a person (ENTRIES_READ_USER_ANTISCAN), in thousandths
# of a token: a hundred, of which two a minute come back; a key that nobody has costs twenty.
BUCKET = 100_000
REFILL_EVERY_US = 30_000
FOUND_COSTS = 1_000
MISSED_COSTS = 20_000


class KeyStatus(StrEnum):
    """Whether an account is paid under a key. The names are the contract's; the values stored."""

    AWAITING_PROOF = "awaiting_proof"
    ACTIVE = "active"
    TAKEN = "taken"
    SUSPENDED = "suspended"
    REMOVED = "removed"


class ClaimKind(StrEnum):
    PORTABILITY = "portability"
    OWNERSHIP = "ownership"


class ClaimStatus(StrEnum):
    OPEN = "open"
    WAITING_RESOLUTION = "waiting_resolution"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


class Reason(StrEnum):
    """Why a claim was confirmed or cancelled."""

    NONE = ""
    USER_REQUESTED = "user_requested"
    DEFAULT_OPERATION = "default_operation"
    ACCOUNT_CLOSURE = "account_closure"
    FRAUD = "fraud"


class Side(StrEnum):
    """Who speaks: the one who is to have the key, or the one who has it."""

    CLAIMER = "claimer"
    DONOR = "donor"


ENDED = frozenset({ClaimStatus.CANCELLED, ClaimStatus.COMPLETED})
UNANSWERED = frozenset({ClaimStatus.OPEN, ClaimStatus.WAITING_RESOLUTION})
# A portability moves a key of any kind but a random one; an ownership, what can change hands.
PORTABLE = frozenset({KeyKind.CPF, KeyKind.CNPJ, KeyKind.EMAIL, KeyKind.PHONE})
CHANGES_HANDS = frozenset({KeyKind.EMAIL, KeyKind.PHONE})


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Whose the account is, and the proven address of the user who asks."""

    name: str = field(repr=False)
    cnpj: str = field(repr=False)
    cpf: str = field(repr=False)
    email: str = field(repr=False)

    @property
    def most_keys(self) -> int:
        return MOST_KEYS if self.cnpj else MOST_KEYS_OF_A_PERSON

    def is_proven(self, key: Key) -> bool:
        """Tells whether a key is known to be the owner's own; otherwise a code has to tell.

        Raises `FailedPrecondition` for a document that is another's.
        """
        match key.kind:
            case KeyKind.CPF | KeyKind.CNPJ:
                if key.value not in (self.cpf, self.cnpj):
                    raise FailedPrecondition("KEY_NOT_YOURS", "This document is not the holder's.")
                return True
            case KeyKind.EMAIL:
                return key.value == self.email.strip().lower()
            case KeyKind.PHONE:
                return False
            case KeyKind.RANDOM:
                return True

    def is_same(self, other: Holder | None) -> bool:
        return other is not None and other.document in (self.cnpj, self.cpf)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredKey:
    """A key of an account. `is_same_holder`: who has it elsewhere is the same person."""

    id: str
    account: str
    kind: KeyKind
    value: str = field(repr=False)
    requested_by: str
    request_id: str
    created_at_us: int
    status: KeyStatus
    is_same_holder: bool = False

    def must_be_asked(self, account: str, kind: KeyKind, value: str) -> None:
        """Raises `AlreadyExists` unless this key is what is asked for again."""
        same_value = value == self.value or kind is KeyKind.RANDOM
        if (account, kind) != (self.account, self.kind) or not same_value:
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another key.")

    def claim_kind(self) -> ClaimKind:
        """Tells as what the key can be claimed. Raises `FailedPrecondition` if it cannot."""
        if self.status is not KeyStatus.TAKEN:
            raise FailedPrecondition("KEY_NOT_CLAIMABLE", "The key is not registered elsewhere.")
        if self.is_same_holder or self.kind not in CHANGES_HANDS:
            return ClaimKind.PORTABILITY
        return ClaimKind.OWNERSHIP


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A request that a key move. An account that is empty is another bank's."""

    id: str
    key_id: str
    key: str = field(repr=False)
    kind: ClaimKind
    claimer: str
    donor: str
    requested_by: str
    request_id: str | None
    created_at_us: int
    status: ClaimStatus = ClaimStatus.OPEN
    confirm_reason: Reason = Reason.NONE
    cancel_reason: Reason = Reason.NONE

    @property
    def resolution_ends_us(self) -> int:
        return self.created_at_us + RESOLUTION_US

    @property
    def objection_ends_us(self) -> int:
        return self.created_at_us + OBJECTION_US

    @property
    def lapses_us(self) -> int:
        return self.created_at_us + LAPSE_US

    def acknowledged(self) -> Claim:
        """The bank that has the key knows of the claim."""
        if self.status is not ClaimStatus.OPEN:
            return self
        return replace(self, status=ClaimStatus.WAITING_RESOLUTION)

    def confirmed(self, reason: Reason = Reason.USER_REQUESTED) -> Claim:
        if self.status is ClaimStatus.CONFIRMED:
            return self
        if self.status not in UNANSWERED:
            raise ended()
        return replace(self, status=ClaimStatus.CONFIRMED, confirm_reason=reason)

    def cancelled(self, side: Side, reason: Reason = Reason.USER_REQUESTED) -> Claim:
        if self.status is ClaimStatus.CANCELLED:
            return self
        if self.status is ClaimStatus.COMPLETED:
            raise ended()
        if side is Side.DONOR:
            self.must_be_objectionable(reason)
        return replace(self, status=ClaimStatus.CANCELLED, cancel_reason=reason)

    def must_be_objectionable(self, reason: Reason) -> None:
        """Raises `FailedPrecondition` unless the holder may still say no, and for this reason."""
        if self.kind is ClaimKind.OWNERSHIP and reason is not Reason.FRAUD:
            raise FailedPrecondition(
                "REASON_NOT_ALLOWED", "Who has the key turns ownership away only as fraud."
            )
        by_default = self.confirm_reason is Reason.DEFAULT_OPERATION
        if self.status is ClaimStatus.CONFIRMED and not by_default:
            raise FailedPrecondition("CLAIM_CONFIRMED", "The key was let go.")

    def completed(self, now_us: int) -> Claim:
        if self.status is ClaimStatus.COMPLETED:
            return self
        if self.status is ClaimStatus.CANCELLED:
            raise ended()
        if self.status is not ClaimStatus.CONFIRMED:
            raise FailedPrecondition("CLAIM_NOT_CONFIRMED", "The key was not let go yet.")
        by_default = self.confirm_reason is Reason.DEFAULT_OPERATION
        if by_default and now_us < self.objection_ends_us:
            raise FailedPrecondition("CLAIM_CAN_BE_OBJECTED", "The holder may still object.")
        return replace(self, status=ClaimStatus.COMPLETED)

    def unanswered(self) -> Claim:
        """The time to answer is over."""
        if self.status not in UNANSWERED:
            return self
        if self.kind is ClaimKind.OWNERSHIP:
            return self.confirmed(Reason.DEFAULT_OPERATION)
        return replace(self, status=ClaimStatus.CANCELLED, cancel_reason=Reason.DEFAULT_OPERATION)

    def lapsed(self) -> Claim:
        """The time to complete is over."""
        if self.status in ENDED:
            return self
        return replace(self, status=ClaimStatus.CANCELLED, cancel_reason=Reason.DEFAULT_OPERATION)


class Directory(Protocol):
    """Who our customers are, as far as the directory must know."""

    async def owner_of(self, company_id: str, user_id: str) -> Owner: ...


def free_slot(taken: Collection[int], most: int) -> int:
    """Finds room for a key. Raises `FailedPrecondition` if the account has all it may have."""
    for slot in range(1, most + 1):
        if slot not in taken:
            return slot
    raise FailedPrecondition("TOO_MANY_KEYS", f"An account has at most {most} keys.")


def must_be_of(kind: KeyKind, key: Key) -> None:
    if key.kind is not kind:
        rule = Violation("pix_key", f"must be a key of the kind {kind.name}")
        raise InvalidArgument("INVALID_PIX_KEY", "This is no such key.", rule)


def new_code() -> str:
    """Makes the code that proves a key: six digits."""
    return f"{secrets.randbelow(1_000_000):06}"


def code_hash(key_id: str, code: str) -> str:
    return sha256(f"{key_id}:{code.strip()}".encode()).hexdigest()


def must_match(known: str, key_id: str, code: str) -> None:
    """Raises `InvalidArgument` unless a code is the one that was sent; none was, if it is empty."""
    if not known or not secrets.compare_digest(known, code_hash(key_id, code)):
        rule = Violation("code", "must be the code that was sent last, and not too old")
        raise InvalidArgument("INVALID_CODE", "This is not the code.", rule)


def refilled(tokens: int, as_of_us: int, now_us: int) -> tuple[int, int]:
    """Tells what is in a bucket now, and as of when that is exact."""
    back = max(0, now_us - as_of_us) // REFILL_EVERY_US
    return min(BUCKET, tokens + back), as_of_us + back * REFILL_EVERY_US


def masked_name(holder: Holder) -> str:
    """Gives a company's name whole, and of a person's the first word and initials."""
    if len(holder.document) != len("00000000000"):
        return holder.name
    first, *rest = holder.name.split() or [""]
    return " ".join([first, *(f"{word[0]}{'*' * (len(word) - 1)}" for word in rest)])


def masked_document(document: str) -> str:
    """Masks a CPF as receipts do; a CNPJ is public."""
    if len(document) != len("00000000000"):
        return document
    return f"***.{document[3:6]}.{document[6:9]}-**"


def ended() -> FailedPrecondition:
    return FailedPrecondition("CLAIM_ENDED", "The claim has ended.")


def no_such_key() -> NotFound:
    return NotFound("KEY_NOT_FOUND", "There is no such key.")


def no_such_claim() -> NotFound:
    return NotFound("CLAIM_NOT_FOUND", "There is no such claim.")


def not_your_part() -> PermissionDenied:
    return PermissionDenied("NOT_YOUR_PART", "This is for the other side of the claim to do.")
