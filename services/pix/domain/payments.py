"""Keys, payments that go out, payments that come in. No gRPC, no NATS, no SQL.

Keys have the forms of the central bank's manuals (DICT's key formats).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol
from uuid import UUID, uuid4, uuid5

from stdnum.br import cnpj, cpf

from mesh.errors import AlreadyExists, InvalidArgument, NotFound, Violation
from services.money import Money

from .rail import Kind, Order

LOOPS = UUID("6b3f2c1e-8a57-5d0c-9a44-1f0f0c6a7d21")

EMAIL = re.compile(
    r"[a-z0-9.!#$&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
)
PHONE = re.compile(r"\+[1-9][0-9]{7,14}")
RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_EMAIL_CHARACTERS = 77

NO_ROLE = "UNSPECIFIED"
# Whoever may pay may say how the company is paid.
ACTING_ROLES = frozenset({"OWNER", "OPERATOR"})


class KeyKind(StrEnum):
    """What a Pix key is."""

    CPF = "cpf"
    CNPJ = "cnpj"
    EMAIL = "email"
    PHONE = "phone"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Key:
    """A Pix key in the form in which the directory knows it."""

    kind: KeyKind
    value: str

    @classmethod
    def new_random(cls) -> Key:
        """Makes a random key (EVP): a UUID that tells nothing, not even when it was made."""
        return cls(KeyKind.RANDOM, str(uuid4()))

    @classmethod
    def parse(cls, written: str) -> Key:
        """Reads a key as people write it. Raises `InvalidArgument` if it is none."""
        text = written.strip().lower()
        if "@" in text and len(text) <= MOST_EMAIL_CHARACTERS and EMAIL.fullmatch(text):
            return cls(KeyKind.EMAIL, text)
        if RANDOM.fullmatch(text):
            return cls(KeyKind.RANDOM, text)
        if PHONE.fullmatch(text):
            return cls(KeyKind.PHONE, text)
        # A number of one digit alone has right check digits, and is nobody's.
        if text.isascii() and cpf.is_valid(text) and len(set(cpf.compact(text))) > 1:
            return cls(KeyKind.CPF, cpf.compact(text))
        if text.isascii() and cnpj.is_valid(text):
            return cls(KeyKind.CNPJ, cnpj.compact(text))
        raise InvalidArgument(
            "INVALID_PIX_KEY",
            "This is no Pix key.",
            Violation("pix_key", "must be a CPF, a CNPJ, an e-mail, a phone or a random key"),
        )


def may_act(role: str) -> bool | None:
    """Tells what a role allows; None if it is no part in the company at all."""
    return None if role == NO_ROLE else role in ACTING_ROLES


def known_account(account: str) -> str:
    if not account:
        raise NotFound("ACCOUNT_NOT_FOUND", "There is no such account.")
    return account


class Status(StrEnum):
    """How far a payment has come. The names are those of the contract; the values are stored."""

    PENDING = "pending"
    SETTLED = "settled"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True, slots=True)
class Deposit:
    """A payment that comes in, to an account of ours. `returned` is what was given back of it."""

    id: str
    request_id: str | None
    account: str
    amount: Money
    description: str
    end_to_end_id: str
    created_at_us: int
    txid: str = ""
    status: Status = Status.PENDING
    rejection_code: str = ""
    returned: int = 0

    def must_repeat(self, earlier: Deposit) -> None:
        asked = (self.account, self.amount, self.description)
        if asked != (earlier.account, earlier.amount, earlier.description):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another deposit.")

    def settled(self) -> Deposit:
        return replace(self, status=Status.SETTLED)

    def rejected(self, code: str) -> Deposit:
        return replace(self, status=Status.REJECTED, rejection_code=code)


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A payment that goes out. `account` names the payee if it is an account of ours.

    `payer` is the account to which money goes that is given back; `returned` is how much was.
    """

    id: str
    key: str
    account: str
    amount: Money
    description: str
    end_to_end_id: str
    created_at_us: int
    payer: str = ""
    txid: str = ""
    status: Status = Status.PENDING
    rejection_code: str = ""
    returned: int = 0

    def must_be(self, key: str, amount: Money, description: str) -> None:
        if (self.key, self.amount, self.description) != (key, amount, description):
            raise AlreadyExists("PAYMENT_ID_TAKEN", "This id names another payment.")

    def settled(self) -> Payment:
        return replace(self, status=Status.SETTLED)

    def rejected(self, code: str) -> Payment:
        return replace(self, status=Status.REJECTED, rejection_code=code)

    def as_deposit(self) -> Deposit:
        """Makes the deposit that a payment to an account of ours is at its other end."""
        return Deposit(
            id=str(uuid5(LOOPS, self.id)),
            request_id=None,
            account=self.account,
            amount=self.amount,
            description=self.description,
            end_to_end_id=self.end_to_end_id,
            created_at_us=self.created_at_us,
            txid=self.txid,
        )

    def order(self) -> Order:
        """Makes the message that pays it."""
        return Order(
            kind=Kind.PAYMENT,
            end_to_end_id=self.end_to_end_id,
            minor_units=self.amount.minor_units,
            key=self.key,
        )


class Ledger(Protocol):
    """What a payment asks of the ledger. Asking twice for the same entry is asking once."""

    async def credit(self, deposit: Deposit) -> None: ...


class Accounts(Protocol):
    """Whose a key is among our accounts."""

    async def account_of(self, key: Key) -> str:
        """Names the account of ours that a key stands for; empty if there is none."""
