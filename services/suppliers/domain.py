"""What a supplier is, who may change it, and how. No gRPC, no NATS, no SQL.

What a Pix key is, pix judges when it pays. The form of one is known here too, so that a mistyped
key is refused where it is typed; a test of the whole repository holds the two against each other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from stdnum.br import cnpj, cpf

from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Violation,
)
from services.money import Money

NO_ROLE = "UNSPECIFIED"
# Whoever may pay may say whom: another key is another payee.
CHANGING_ROLES = frozenset({"OWNER", "OPERATOR"})

# The forms of keys, as DICT's manual gives them.
EMAIL = re.compile(
    r"[a-z0-9.!#$&'*+/=?^_`{|}~-]+@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)+"
)
PHONE = re.compile(r"\+[1-9][0-9]{7,14}")
RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_KEY_CHARACTERS = 77
MOST_WORDS = 5


class PaymentStatus(StrEnum):
    """How far a payment to a supplier has come. The names are the contract's; the values stored."""

    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RETURNED = "returned"


class Status(StrEnum):
    """Whether a supplier is paid. The names are those of the contract; the values are stored."""

    ACTIVE = "active"
    REMOVED = "removed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to be changed of a supplier; None leaves it. `version` is the one that was read."""

    name: str | None = field(default=None, repr=False)
    pix_key: str | None = field(default=None, repr=False)
    favourite: bool | None = None
    version: int = 0
    at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Supplier:
    """Somebody whom a company pays. `version` counts its savings, from 1."""

    id: str
    company_id: str
    created_by: str
    request_id: str
    name: str = field(repr=False)
    document: str = field(repr=False)
    pix_key: str = field(repr=False)
    favourite: bool
    created_at_us: int
    updated_at_us: int
    status: Status = Status.ACTIVE
    version: int = 1

    @property
    def sought(self) -> str:
        """Gives what the supplier is found by."""
        return f"{folded(self.name)} {folded(self.document)} {folded(self.pix_key)}"

    def must_repeat(self, earlier: Supplier, asked_company: str) -> None:
        """Raises `AlreadyExists` unless `earlier`, as it was added, is what is asked for now."""
        now = (self.name, self.document, self.pix_key, self.favourite)
        before = (earlier.name, earlier.document, earlier.pix_key, earlier.favourite)
        if now != before or asked_company not in ("", earlier.company_id):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another supplier.")

    def changed(self, change: Change) -> Supplier:
        """Gives the supplier after a change; itself if it is that way already."""
        if self.status is Status.REMOVED:
            raise FailedPrecondition("SUPPLIER_REMOVED", "The supplier was removed.")
        wanted = replace(
            self,
            name=self.name if change.name is None else change.name,
            pix_key=self.pix_key if change.pix_key is None else change.pix_key,
            favourite=self.favourite if change.favourite is None else change.favourite,
        )
        if wanted == self:
            return self
        if change.version not in (0, self.version):
            raise FailedPrecondition("VERSION_MISMATCH", "The supplier was saved since.")
        return replace(wanted, version=self.version + 1, updated_at_us=change.at_us)

    def removed(self, at_us: int) -> Supplier:
        if self.status is Status.REMOVED:
            return self
        version = self.version + 1
        return replace(self, status=Status.REMOVED, version=version, updated_at_us=at_us)


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """What a supplier was from one saving to the next, and who saved it."""

    version: int
    saved_by: str
    saved_at_us: int
    name: str = field(repr=False)
    pix_key: str = field(repr=False)
    favourite: bool
    status: Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """A payment to a supplier, as transfers tells it."""

    transfer_id: str
    supplier_id: str
    payer: str
    amount: Money
    created_at_us: int
    status: PaymentStatus = PaymentStatus.PENDING
    returned: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Which suppliers are asked for: those before an id, of a company or of all the user's."""

    user_id: str
    company_id: str = ""
    only_favourites: bool = False
    with_removed: bool = False
    words: tuple[str, ...] = field(default=(), repr=False)
    before: str
    size: int


def may_change(role: str) -> bool | None:
    """Tells what a role allows; None if it is no part in the company at all."""
    return None if role == NO_ROLE else role in CHANGING_ROLES


def company_to_change(companies: Mapping[str, bool], asked: str) -> str:
    """Names the company that is meant; `companies` are the user's, and whether they may change it.

    Raises `NotFound`, `PermissionDenied`, or `InvalidArgument` if several could be meant.
    """
    if not companies or (asked and asked not in companies):
        raise NotFound("COMPANY_NOT_FOUND", "There is no such company.")
    if not asked and len(companies) > 1:
        rule = "must be given by who has several companies"
        raise InvalidArgument(
            "COMPANY_NOT_NAMED", "Say which company.", Violation("company_id", rule)
        )
    company_id = asked or next(iter(companies))
    must_be_allowed(companies[company_id])
    return company_id


def must_be_allowed(allowed: bool) -> None:
    if not allowed:
        raise PermissionDenied("ROLE_MAY_NOT_CHANGE", "Your role does not allow you to do this.")


def called(written: str) -> str:
    """Gives a name without what surrounds it. Raises `InvalidArgument` if nothing is left."""
    name = " ".join(written.split())
    if not name or not name.isprintable():
        rule = "must have something to read, on one line"
        raise InvalidArgument("INVALID_NAME", "This is no name.", Violation("name", rule))
    return name


def document(written: str) -> str:
    """Reads a CPF or CNPJ as people write it. Raises `InvalidArgument` if it is neither."""
    found = number(written.strip().upper())
    if not found:
        rule = Violation("document", "must be a CPF or a CNPJ")
        raise InvalidArgument("INVALID_DOCUMENT", "This is neither a CPF nor a CNPJ.", rule)
    return found


def pix_key(written: str) -> str:
    """Reads a Pix key as people write it. Raises `InvalidArgument` if it is none."""
    text = written.strip().lower()
    forms = (EMAIL, RANDOM, PHONE)
    if len(text) <= MOST_KEY_CHARACTERS and any(form.fullmatch(text) for form in forms):
        return text
    if found := number(text):
        return found
    rule = "must be a CPF, a CNPJ, an e-mail, a phone or a random key"
    raise InvalidArgument("INVALID_PIX_KEY", "This is no Pix key.", Violation("pix_key", rule))


def number(text: str) -> str:
    """Gives a CPF or CNPJ without its punctuation; empty if it is neither."""
    # A number of one digit alone has right check digits, and is nobody's.
    if text.isascii() and cpf.is_valid(text) and len(set(cpf.compact(text))) > 1:
        return str(cpf.compact(text))
    if text.isascii() and cnpj.is_valid(text):
        return str(cnpj.compact(text))
    return ""


def folded(text: str) -> str:
    """Gives a text without accents and capitals."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def words_of(query: str) -> tuple[str, ...]:
    """Reads what is looked for: a document or a phone may be written with its punctuation."""
    number_of = number(query.strip().upper())
    return (folded(number_of),) if number_of else tuple(folded(query).split())[:MOST_WORDS]


def no_such_supplier() -> NotFound:
    return NotFound("SUPPLIER_NOT_FOUND", "There is no such supplier.")


def supplier_exists() -> AlreadyExists:
    return AlreadyExists("SUPPLIER_EXISTS", "The company has a supplier with this document.")
