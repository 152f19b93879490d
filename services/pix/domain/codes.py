"""Codes to be paid (BR Code, after EMV's merchant-presented QR), and the charges behind them.

A code is a line of fields: two digits of id, two of length, the value; the last one, 63, is the
CRC-16/CCITT-FALSE of all before it. A static code says all itself; a dynamic one names the place of
a charge, which is signed, expires, and is paid once.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import crc_hqx
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum

from mesh.clock import from_us
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Violation
from services.money import Money

GUI = "br.gov.bcb.pix"
BRL, BRL_NUMBER = "BRL", "986"
USUAL_CITY = "SAO PAULO"
# What stands for a txid where there is none.
NO_TXID = "***"
MOST_NAME, MOST_CITY, MOST_KEY_FIELD = 25, 15, 99
TXID = {"static": re.compile(r"[A-Za-z0-9]{1,25}"), "dynamic": re.compile(r"[A-Za-z0-9]{26,35}")}
AMOUNT = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,2}))?")
FIELD = re.compile(r"[0-9]{4}")
CRC_FIELD = "6304"
# The templates in which a scheme describes an account (EMV: merchant account information).
ACCOUNTS = range(26, 52)
USUAL_LIFE_US = timedelta(days=1) // timedelta(microseconds=1)
# The charge's own place, below the host of the bank.
PLACE = "/v1/pix/charges/"


class CodeKind(StrEnum):
    """How a code is made. The names are the contract's; the values are stored."""

    STATIC = "static"
    DYNAMIC = "dynamic"


class CodeStatus(StrEnum):
    """Whether a code can be paid. The names are the contract's; the values are stored."""

    ACTIVE = "active"
    PAID = "paid"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrCode:
    """What is written in a code. Either a key or a location is there; an amount may be."""

    key: str = field(default="", repr=False)
    location: str = ""
    name: str = field(repr=False)
    city: str
    minor_units: int = 0
    txid: str = ""
    description: str = field(default="", repr=False)

    def write(self) -> str:
        """Writes the code. Raises `InvalidArgument` if the description leaves no room."""
        account = written({"00": GUI, "01": self.key, "02": self.description, "25": self.location})
        if len(account) > MOST_KEY_FIELD:
            rule = Violation("description", "leaves no room for the key in the code")
            raise InvalidArgument("DESCRIPTION_TOO_LONG", "The description is too long.", rule)
        text = written(
            {
                "00": "01",
                "01": "12" if self.location else "",
                "26": account,
                "52": "0000",
                "53": BRL_NUMBER,
                "54": decimal(self.minor_units) if self.minor_units else "",
                "58": "BR",
                "59": self.name,
                "60": self.city,
                "62": written({"05": self.txid or NO_TXID}),
            }
        )
        return f"{text}{CRC_FIELD}{crc(text + CRC_FIELD)}"

    @classmethod
    def read(cls, text: str) -> BrCode:
        """Reads a code. Raises `InvalidArgument` if it is none, or is of another scheme."""
        code = text.strip()
        if len(code) < 8 or code[-8:-4] != CRC_FIELD or crc(code[:-4]) != code[-4:].upper():
            raise no_code("its checksum is wrong")
        fields = fields_of(code[:-8])
        account = pix_account(fields)
        key, location = account.get("01", ""), account.get("25", "")
        if fields.get("00") != "01" or bool(key) == bool(location):
            raise no_code("it names no key and no charge, or both")
        if fields.get("53") != BRL_NUMBER or fields.get("58") != "BR":
            raise no_code("it is of another country or currency")
        txid = fields_of(fields.get("62", "")).get("05", "")
        return cls(
            key=key,
            location=location,
            name=fields.get("59", ""),
            city=fields.get("60", ""),
            minor_units=minor_units(fields["54"]) if "54" in fields else 0,
            txid="" if txid == NO_TXID else txid,
            description=account.get("02", ""),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """A code of an account. `minor_units` of zero leave the amount to the payer."""

    id: str
    account: str
    kind: CodeKind
    status: CodeStatus = CodeStatus.ACTIVE
    br_code: str = field(default="", repr=False)
    key: str = field(repr=False)
    name: str = field(repr=False)
    city: str
    txid: str
    amount: Money
    description: str = field(repr=False)
    token: str | None
    location: str
    expires_at_us: int
    end_to_end_id: str = ""
    requested_by: str
    request_id: str
    created_at_us: int

    def made(self) -> Code:
        """Writes the text of the code."""
        is_dynamic = self.kind is CodeKind.DYNAMIC
        code = BrCode(
            key="" if is_dynamic else self.key,
            location=self.location,
            name=self.name,
            city=self.city,
            minor_units=0 if is_dynamic else self.amount.minor_units,
            txid="" if is_dynamic else self.txid,
            description="" if is_dynamic else plain(self.description),
        )
        return replace(self, br_code=code.write())

    def must_be_asked(self, asked: Code) -> None:
        """Raises `AlreadyExists` unless this code is what is asked for again."""
        now = (asked.account, asked.kind, asked.amount, asked.description)
        if now != (self.account, self.kind, self.amount, self.description):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another code.")

    def as_of(self, now_us: int) -> Code:
        is_over = self.kind is CodeKind.DYNAMIC and now_us >= self.expires_at_us
        if self.status is CodeStatus.ACTIVE and is_over:
            return replace(self, status=CodeStatus.EXPIRED)
        return self

    def charge(self) -> dict[str, object]:
        """Gives the charge in the form of the central bank's API (cob)."""
        statuses = {CodeStatus.ACTIVE: "ATIVA", CodeStatus.PAID: "CONCLUIDA"}
        life_us = self.expires_at_us - self.created_at_us
        return {
            "calendario": {
                "criacao": from_us(self.created_at_us).isoformat(timespec="seconds"),
                "expiracao": life_us // 1_000_000,
            },
            "txid": self.txid,
            "revisao": 0,
            "status": statuses.get(self.status, "REMOVIDA_PELO_USUARIO_RECEBEDOR"),
            "valor": {"original": decimal(self.amount.minor_units)},
            "chave": self.key,
            "solicitacaoPagador": self.description,
        }


def must_be_txid(kind: CodeKind, txid: str) -> None:
    if txid and not TXID[kind].fullmatch(txid):
        length = "1 to 25" if kind is CodeKind.STATIC else "26 to 35"
        rule = Violation("txid", f"must be {length} letters and digits")
        raise InvalidArgument("INVALID_TXID", "This is no such txid.", rule)


def must_be_payable(kind: CodeKind, amount: Money | None) -> None:
    if kind is CodeKind.DYNAMIC and amount is None:
        rule = Violation("amount", "value is required")
        raise InvalidArgument("NO_AMOUNT", "A charge says how much.", rule)
    if amount and amount.currency != BRL:
        rule = Violation("amount.currency_code", "must be BRL")
        raise InvalidArgument("CURRENCY_MISMATCH", "Pix is in BRL.", rule)
    if amount and amount.minor_units >= 10**12:
        rule = Violation("amount", "must have at most ten digits before the point")
        raise InvalidArgument("AMOUNT_TOO_LARGE", "A code says no such amount.", rule)


def token_at(location: str) -> str:
    """Gives what names a charge at its location; empty if that is not a place of ours."""
    _, is_ours, token = location.partition(PLACE)
    return token if is_ours else ""


def written(fields: Mapping[str, str]) -> str:
    return "".join(f"{id}{len(value):02}{value}" for id, value in fields.items() if value)


def fields_of(text: str) -> dict[str, str]:
    """Reads the fields of a code, or of a template in it. Raises `InvalidArgument`."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        head = text[at : at + 4]
        if not FIELD.fullmatch(head):
            raise no_code("a field has no length")
        value = text[at + 4 : at + 4 + int(head[2:])]
        if len(value) != int(head[2:]) or head[:2] in fields:
            raise no_code("a field is cut off, or is there twice")
        fields[head[:2]] = value
        at += 4 + len(value)
    return fields


def pix_account(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Finds the template of Pix among those of other schemes."""
    templates: Iterable[dict[str, str]] = (
        fields_of(value) for id, value in fields.items() if int(id) in ACCOUNTS
    )
    for template in templates:
        if template.get("00", "").lower() == GUI:
            return template
    raise no_code("it is of another scheme")


def crc(text: str) -> str:
    """CRC-16/CCITT-FALSE (ISO/IEC 13239, initial value FFFF), in four digits."""
    return f"{crc_hqx(text.encode(), 0xFFFF):04X}"


def decimal(minor_units: int) -> str:
    units, cents = divmod(minor_units, 100)
    return f"{units}.{cents:02}"


def minor_units(text: str) -> int:
    match = AMOUNT.fullmatch(text)
    if match is None:
        raise no_code("its amount is none")
    return int(match[1]) * 100 + int((match[2] or "").ljust(2, "0"))


def plain(text: str, most: int = MOST_KEY_FIELD) -> str:
    """Writes a text in the letters that every reader of codes knows, and cuts it."""
    decomposed = unicodedata.normalize("NFKD", text)
    ascii_only = decomposed.encode("ascii", "ignore").decode()
    return " ".join(filter(str.isprintable, ascii_only.split()))[:most].strip()


def no_code(why: str) -> InvalidArgument:
    return InvalidArgument(
        "INVALID_BR_CODE",
        "This is no Pix code.",
        Violation("br_code", f"must be a Pix code; {why}"),
    )


def no_such_code() -> NotFound:
    return NotFound("QR_CODE_NOT_FOUND", "There is no such code.")


def not_payable() -> FailedPrecondition:
    """The rail's reason code of a payee's bank that does not take a code."""
    return FailedPrecondition("BE17", "The payee's bank does not take the code.")
