"""Statements as files, read back by other people's programs."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ofxtools.Parser import OFXTree
from pypdf import PdfReader

from services.money import Money
from services.statements import documents
from services.statements.domain import END, Line, Period

ACCOUNT = "01a2137f-a189-7153-93a3-d7f92d901d5a"
START_US = 1_793_000_000_000_000
ROW = re.compile(
    r"^\d\d/\d\d/\d{4} \d\d:\d\d.*?(-?[\d.]+,\d\d)\s+(-?[\d.]+,\d\d)$", re.MULTILINE | re.DOTALL
)
NOW_US = START_US + 86_400_000_000


def brl(minor_units: int) -> Money:
    return Money(minor_units, "BRL")


def statement(
    *amounts: int, opening: int = 0, said: str = "Farinha & açúcar"
) -> tuple[Period, list[Line]]:
    balance, lines = opening, []
    for version, units in enumerate(amounts, 1):
        balance += units
        lines.append(
            Line(
                account_id=ACCOUNT,
                version=version,
                entry_id=f"entry-{version}",
                transfer_id="",
                amount=brl(units),
                balance_after=brl(balance),
                counterparty="Moinho <do> Bruno",
                description=said,
                occurred_at_us=START_US + version * 1_000_000,
            )
        )
    period = Period(
        account_id=ACCOUNT,
        company_id="",
        from_us=START_US,
        to_us=END,
        opening=brl(opening),
        until_version=len(lines),
    )
    return period, lines


def ofx(period: Period, lines: list[Line]) -> bytes:
    file = documents.OfxFile(period, NOW_US)
    return (file.head() + file.lines(lines) + file.foot()).encode()


def read(written: bytes) -> Any:
    """Reads OFX as others' programs do; what is against the standard is an error."""
    tree = OFXTree()
    tree.parse(io.BytesIO(written))
    [statement] = tree.convert().statements
    return statement


def test_accounting_software_reads_ofx() -> None:
    kept = read(ofx(*statement(100_000, -25_000, -9_990, opening=1_05)))

    assert kept.curdef == "BRL"
    assert kept.account.acctid == ACCOUNT.replace("-", "")[-22:]
    assert [entry.trnamt for entry in kept.transactions] == [
        Decimal("1000.00"), Decimal("-250.00"), Decimal("-99.90")
    ]  # fmt: skip
    assert [entry.trntype for entry in kept.transactions] == ["CREDIT", "DEBIT", "DEBIT"]
    assert len({entry.fitid for entry in kept.transactions}) == 3
    assert kept.transactions[0].memo == "Farinha & açúcar - Moinho <do> Bruno"
    assert kept.ledgerbal.balamt == Decimal("651.15")


def test_a_time_without_lines_is_a_file_too() -> None:
    period, lines = statement(opening=500)

    assert read(ofx(period, lines)).ledgerbal.balamt == Decimal("5.00")
    assert "Página 1 de 1" in text_of(documents.pdf(period, lines, "", NOW_US))


def test_a_spreadsheet_reads_csv() -> None:
    _, lines = statement(100_000, -25_000, said='Paga; "já"\nsim')
    file = documents.CsvFile()
    written = file.head() + file.lines(lines)

    dialect = csv.Sniffer().sniff(written.splitlines()[0])
    head, *rows = csv.reader(io.StringIO(written.removeprefix("\ufeff"), newline=""), delimiter=";")

    assert dialect.delimiter == ";"
    assert tuple(head) == documents.HEADS
    assert [row[3] for row in rows] == ["1000,00", "-250,00"]
    assert rows[0][1] == 'Paga; "já"\nsim'


@pytest.mark.parametrize("said", ["=1+1", "+55", "-3", "@a", "\t="])
def test_no_text_becomes_a_formula(said: str) -> None:
    _, [line] = statement(100, said=said)
    [row] = csv.reader(io.StringIO(documents.CsvFile().lines([line]), newline=""), delimiter=";")
    assert row[1] == f"'{said}"


def text_of(pdf: bytes) -> str:
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)


def test_paper_has_every_line_its_sums_and_its_page_numbers() -> None:
    amounts = [123_456 if number % 3 else -4_567 for number in range(100)]
    period, lines = statement(*amounts, opening=1_000_000)

    holder = "Padaria da Ana Ltda · CNPJ 11222333000181"

    text = text_of(documents.pdf(period, lines, holder, NOW_US))

    rows = ROW.findall(text)
    assert [units(first) for first, _ in rows] == amounts
    assert units(rows[-1][1]) == 1_000_000 + sum(amounts)
    assert holder in text
    assert "Página 3 de 3" in text
    assert f"Saldo final\n{documents.amount(lines[-1].balance_after, thousands='.')}" in text


def units(written: str) -> int:
    return int(re.sub(r"[.,]", "", written))


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_amounts_are_written_exactly(minor_units: int) -> None:
    written: Any = documents.amount(brl(minor_units), ".")
    assert Decimal(written) * 100 == minor_units
