"""Many transfers of one file: CSV as spreadsheets and accounting software write it.

RFC 4180, and what is met in Brazil beside it: semicolons or tabs, decimal commas, a byte order
mark, Excel's `sep=` line, and numbers that are kept from being numbers as `="0123"`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from mesh.errors import AlreadyExists, InvalidArgument, Refused
from services.money import Money

from .terms import CURRENCY
from .transfers import Status

NOTHING = Money(0, CURRENCY)

MOST_LINES = 1_000
MOST_DESCRIPTION = 140
SHORTEST_KEY, LONGEST_KEY = 3, 77

COLUMNS = {
    "payee": ("payee", "favorecido", "beneficiario", "chave", "chave pix"),
    "amount": ("amount", "valor"),
    "description": ("description", "descricao", "descrição", "historico", "histórico"),
    "kind": ("kind", "tipo"),
}
KINDS = {
    "account": ("account", "conta"),
    "supplier": ("supplier", "fornecedor"),
    "pix": ("pix", "chave pix"),
}

WHOLE = re.compile(r"[0-9]{1,13}")
DECIMAL = re.compile(r"([0-9]{1,13})[.,]([0-9]{1,2})")
GROUPED = re.compile(
    r"([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{1,2})|([0-9]{1,3}(?:,[0-9]{3})+)\.([0-9]{1,2})"
)
GROUPED_WHOLE = re.compile(r"[0-9]{1,3}(?:(?:\.[0-9]{3}){2,4}|(?:,[0-9]{3}){2,4})")
AMBIGUOUS = re.compile(r"[0-9]{1,3}[.,][0-9]{3}")
QUOTED = re.compile(r'="(.*)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line of a file: who is to be paid how much, or why nobody is.

    `number` counts the lines of the file from 1, the header included.
    """

    number: int
    payee: str = ""
    pix_key: str = field(default="", repr=False)
    supplier_id: str = ""
    amount: Money = NOTHING
    description: str = field(default="", repr=False)
    refusal: Refused | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """A file of transfers. `digest` tells two files apart."""

    id: str
    requested_by: str
    request_id: str
    payer: str
    created_at_us: int
    digest: str
    lines: int
    pending: int = 0
    accepted: int = 0
    refused: int = 0

    def must_repeat(self, earlier: Batch) -> None:
        if (self.payer, self.digest) != (earlier.payer, earlier.digest):
            raise AlreadyExists("REQUEST_ID_TAKEN", "This request id names another batch.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What became of a line. `status` is `pending`, `accepted` or `refused`."""

    number: int
    status: str
    reason: str
    message: str
    amount: Money
    transfer_id: str
    transfer_status: Status | None
    failure_reason: str


def total(lines: Sequence[Line]) -> int:
    """Sums what the good lines ask for, in minor units."""
    return sum(line.amount.minor_units for line in lines if line.refusal is None)


def read(text: str) -> list[Line]:
    """Reads a file. A bad line is told on its own.

    Raises `InvalidArgument` for what is no such file: `CSV_INVALID`, `CSV_HEADER_INVALID`,
    `BATCH_EMPTY`, `BATCH_TOO_LONG`.
    """
    text = text.removeprefix("\ufeff")
    skipped = 0
    if text[:4].lower() == "sep=":
        text, skipped = text.partition("\n")[2], 1
    if "\0" in text:
        raise InvalidArgument("CSV_INVALID", "The file is no text.")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        columns = find_columns(next(reader, []))
        lines = list[Line]()
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append(read_line(reader.line_num + skipped, cells, columns))
            if len(lines) > MOST_LINES:
                raise InvalidArgument("BATCH_TOO_LONG", "A batch has 1,000 lines at the most.")
    except csv.Error as fault:
        where = reader.line_num + skipped
        raise InvalidArgument("CSV_INVALID", f"Line {where} is no CSV: {fault}.") from None
    if not lines:
        raise InvalidArgument("BATCH_EMPTY", "The file has no lines but its header.")
    return lines


def find_columns(header: Sequence[str]) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    found = {
        column: index
        for column, known in COLUMNS.items()
        for index, name in enumerate(names)
        if name in known
    }
    if not found.keys() >= {"payee", "amount"}:
        raise InvalidArgument(
            "CSV_HEADER_INVALID", "The first line names the columns, payee and amount among them."
        )
    return found


def read_line(number: int, cells: Sequence[str], columns: dict[str, int]) -> Line:
    try:
        values = {
            column: unwrapped(cells[index]) if index < len(cells) else ""
            for column, index in columns.items()
        }
        amount = Money(read_amount(values["amount"]), CURRENCY)
        description = values.get("description", "")
        if len(description) > MOST_DESCRIPTION:
            raise InvalidArgument("DESCRIPTION_TOO_LONG", "A description has 140 characters.")
        payee = read_payee(values["payee"], values.get("kind", ""))
    except Refused as refusal:
        return Line(number=number, refusal=refusal)
    return replace(payee, number=number, amount=amount, description=description)


def unwrapped(cell: str) -> str:
    """Gives the text of a cell, without what keeps a spreadsheet from reading it as a number."""
    text = cell.strip().removeprefix("'")
    if quoted := QUOTED.fullmatch(text):
        text = quoted[1].replace('""', '"').strip()
    if text[:1] in ("=", "@"):
        raise InvalidArgument("CELL_IS_FORMULA", "A cell is a formula.")
    return text


def read_payee(payee: str, kind: str) -> Line:
    known = next((name for name, words in KINDS.items() if kind.lower() in words), "")
    if kind and not known:
        raise InvalidArgument("KIND_INVALID", "The kind is account, supplier or pix.")
    if not payee:
        raise InvalidArgument("PAYEE_MISSING", "The line names no payee.")
    if known == "pix" or not (known or is_uuid(payee)):
        if not SHORTEST_KEY <= len(payee) <= LONGEST_KEY:
            raise InvalidArgument("PAYEE_INVALID", "The payee is no Pix key.")
        return Line(number=0, pix_key=payee)
    if not is_uuid(payee):
        raise InvalidArgument("PAYEE_INVALID", "The payee is no id.")
    if known == "supplier":
        return Line(number=0, supplier_id=payee.lower())
    return Line(number=0, payee=payee.lower())


def is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def read_amount(written: str) -> int:
    """Reads an amount in reais, exactly, as minor units. Raises `InvalidArgument`."""
    text = written.removeprefix("R$").replace("\u00a0", "").replace(" ", "")
    if AMBIGUOUS.fullmatch(text):
        raise InvalidArgument(
            "AMOUNT_AMBIGUOUS", "The amount could be thousands or decimals: write 1234.00."
        )
    reais, centavos = "", "00"
    if WHOLE.fullmatch(text):
        reais = text
    elif found := DECIMAL.fullmatch(text):
        reais, centavos = found[1], found[2]
    elif found := GROUPED.fullmatch(text):
        reais, centavos = found[1] or found[3], found[2] or found[4]
    elif GROUPED_WHOLE.fullmatch(text):
        reais = text
    else:
        raise InvalidArgument("AMOUNT_INVALID", "The amount is none.")
    minor_units = int(reais.replace(".", "").replace(",", "")) * 100 + int(centavos.ljust(2, "0"))
    if not minor_units:
        raise InvalidArgument("AMOUNT_NOT_POSITIVE", "A transfer moves more than nothing.")
    return minor_units
