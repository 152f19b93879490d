"""A statement as a file: OFX for accounting software, CSV for spreadsheets, PDF for paper.

OFX is 1.0.2 (SGML), which accounting software in Brazil reads. CSV is what spreadsheets in Brazil
write: UTF-8 with a mark, semicolons, decimal commas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from services.money import Money

from .domain import BRAZIL, END, Line, Period

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

# The bank's number in the sandbox (Banco Central do Brasil, COMPE); a real bank has its own.
BANK_ID = "0999"
CSV_TYPE, OFX_TYPE, PDF_TYPE = "text/csv; charset=utf-8", "application/x-ofx", "application/pdf"

HEADS = ("Data", "Descrição", "Contraparte", "Valor", "Saldo", "Lançamento")
# What a spreadsheet would take for a formula (CWE-1236).
FORMULA = ("=", "+", "-", "@", "\t", "\r")
OFX_HEAD = """\
OFXHEADER:100
DATA:OFXSGML
VERSION:102
SECURITY:NONE
ENCODING:UTF-8
CHARSET:NONE
COMPRESSION:NONE
OLDFILEUID:NONE
NEWFILEUID:NONE

"""
LINES_OF_A_PAGE = 42


def amount(money: Money, comma: str = ",", thousands: str = "") -> str:
    """Writes an amount with two decimals, exactly."""
    whole, rest = divmod(abs(money.minor_units), 100)
    grouped = f"{whole:,}".replace(",", thousands)
    return f"{'-' if money.minor_units < 0 else ''}{grouped}{comma}{rest:02}"


def moment(at_us: int) -> datetime:
    """Gives a time as people in Brazil see it."""
    return datetime.fromtimestamp(at_us // 1_000_000, BRAZIL)


def file_name(period: Period, ending: str) -> str:
    return f"extrato-{period.account_id}.{ending}"


class CsvFile:
    """Writes the lines of a statement as rows."""

    def head(self) -> str:
        return "\ufeff" + _row(HEADS)

    def lines(self, lines: Sequence[Line]) -> str:
        return "".join(
            _row(
                (
                    f"{moment(line.occurred_at_us):%d/%m/%Y %H:%M:%S}",
                    _plain(line.description),
                    _plain(line.counterparty),
                    amount(line.amount),
                    amount(line.balance_after),
                    line.entry_id,
                )
            )
            for line in lines
        )


class OfxFile:
    """Writes a statement as Open Financial Exchange."""

    def __init__(self, period: Period, now_us: int) -> None:
        self.period = period
        self.now_us = now_us
        self.balance = period.opening

    def head(self) -> str:
        now, period = _ofx_time(self.now_us), self.period
        return (
            f"{OFX_HEAD}<OFX>\n<SIGNONMSGSRSV1><SONRS><STATUS><CODE>0<SEVERITY>INFO</STATUS>"
            f"<DTSERVER>{now}<LANGUAGE>POR</SONRS></SIGNONMSGSRSV1>\n"
            f"<BANKMSGSRSV1><STMTTRNRS><TRNUID>0<STATUS><CODE>0<SEVERITY>INFO</STATUS>\n"
            f"<STMTRS><CURDEF>{period.opening.currency}\n"
            f"<BANKACCTFROM><BANKID>{BANK_ID}<ACCTID>{_ofx_account(period.account_id)}"
            f"<ACCTTYPE>CHECKING</BANKACCTFROM>\n"
            f"<BANKTRANLIST><DTSTART>{_ofx_time(period.from_us)}"
            f"<DTEND>{_ofx_time(min(period.to_us, self.now_us))}\n"
        )

    def lines(self, lines: Sequence[Line]) -> str:
        if lines:
            self.balance = lines[-1].balance_after
        return "".join(
            f"<STMTTRN><TRNTYPE>{'CREDIT' if line.amount.minor_units > 0 else 'DEBIT'}"
            f"<DTPOSTED>{_ofx_time(line.occurred_at_us)}<TRNAMT>{amount(line.amount, '.')}"
            f"<FITID>{line.entry_id}-{line.version}<CHECKNUM>{line.version}"
            f"<MEMO>{_ofx_text(line)}</STMTTRN>\n"
            for line in lines
        )

    def foot(self) -> str:
        at = _ofx_time(min(self.period.to_us, self.now_us))
        return (
            f"</BANKTRANLIST>\n<LEDGERBAL><BALAMT>{amount(self.balance, '.')}<DTASOF>{at}"
            f"</LEDGERBAL></STMTRS></STMTTRNRS></BANKMSGSRSV1>\n</OFX>\n"
        )


def pdf(period: Period, lines: Sequence[Line], holder: str, now_us: int) -> bytes:
    """Draws a statement for paper: whose it is, for when, each line, balances, page numbers."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    written = io.BytesIO()
    canvas = Canvas(written, pagesize=A4, invariant=True)
    canvas.setTitle(f"Extrato {period.account_id}")
    pages = list(_pages(lines))
    for number, page in enumerate(pages, 1):
        last = number == len(pages)
        _draw_head(canvas, period, holder, now_us)
        _draw_lines(canvas, page, period.opening if number == 1 else None)
        if last:
            _draw_sums(canvas, period, lines, len(page))
        canvas.setFont("Helvetica", 8)
        canvas.drawRightString(560, 30, f"Página {number} de {len(pages)}")
        canvas.showPage()
    canvas.save()
    return written.getvalue()


def _pages(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    for start in range(0, max(len(lines), 1), LINES_OF_A_PAGE):
        yield lines[start : start + LINES_OF_A_PAGE]


def _draw_head(canvas: Canvas, period: Period, holder: str, now_us: int) -> None:
    canvas.setFont("Helvetica-Bold", 13)
    canvas.drawString(36, 800, "Extrato de conta")
    canvas.setFont("Helvetica", 9)
    canvas.drawString(36, 784, _latin(holder)[:90])
    canvas.drawString(36, 771, f"Conta {period.account_id}")
    until = min(period.to_us, now_us)
    since = f"{moment(period.from_us):%d/%m/%Y}" if period.from_us else "início"
    canvas.drawString(36, 758, f"Período de {since} a {moment(until - 1):%d/%m/%Y}")
    canvas.drawRightString(560, 784, f"Emitido em {moment(now_us):%d/%m/%Y %H:%M}")
    canvas.line(36, 748, 560, 748)


def _draw_lines(canvas: Canvas, lines: Sequence[Line], opening: Money | None) -> None:
    canvas.setFont("Helvetica-Bold", 8)
    for x, head in ((36, "Data"), (118, "Descrição")):
        canvas.drawString(x, 734, head)
    for x, head in ((470, "Valor (R$)"), (560, "Saldo (R$)")):
        canvas.drawRightString(x, 734, head)
    canvas.setFont("Helvetica", 8)
    if opening is not None:
        canvas.drawString(118, 720, "Saldo anterior")
        canvas.drawRightString(560, 720, amount(opening, thousands="."))
    for row, line in enumerate(lines):
        y = 704 - row * 15
        said = " · ".join(filter(None, (line.description, line.counterparty)))
        canvas.drawString(36, y, f"{moment(line.occurred_at_us):%d/%m/%Y %H:%M}")
        canvas.drawString(118, y, _latin(said)[:58])
        canvas.drawRightString(470, y, amount(line.amount, thousands="."))
        canvas.drawRightString(560, y, amount(line.balance_after, thousands="."))


def _draw_sums(canvas: Canvas, period: Period, lines: Sequence[Line], rows: int) -> None:
    currency = period.opening.currency
    came = sum(line.amount.minor_units for line in lines if line.amount.minor_units > 0)
    went = sum(line.amount.minor_units for line in lines if line.amount.minor_units < 0)
    closing = lines[-1].balance_after if lines else period.opening
    y = 700 - rows * 15
    canvas.line(36, y + 8, 560, y + 8)
    canvas.setFont("Helvetica-Bold", 8)
    sums = (("Entradas", Money(came, currency)), ("Saídas", Money(went, currency)))
    for row, (name, money) in enumerate((*sums, ("Saldo final", closing))):
        canvas.drawString(118, y - row * 12 - 4, name)
        canvas.drawRightString(560, y - row * 12 - 4, amount(money, thousands="."))


def _row(fields: Sequence[str]) -> str:
    written = io.StringIO()
    csv.writer(written, delimiter=";", lineterminator="\r\n").writerow(fields)
    return written.getvalue()


def _plain(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _latin(text: str) -> str:
    """Keeps what the fonts of every PDF reader have (WinAnsi)."""
    return text.encode("cp1252", "replace").decode("cp1252")


def _ofx_account(account_id: str) -> str:
    # 22 characters at the most (OFX 1.0.2, 11.3.1).
    return account_id.replace("-", "")[-22:]


def _ofx_text(line: Line) -> str:
    said = " - ".join(filter(None, (line.description, line.counterparty)))
    return escape(" ".join(said.split())[:255], quote=False)


def _ofx_time(at_us: int) -> str:
    return f"{moment(min(max(at_us, 0), END // 1_000)):%Y%m%d%H%M%S}[-3:BRT]"
