"""Files as spreadsheets write them, by the rule alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.transfers.domain.batches import MOST_LINES, Line, read, read_amount

ID = "01a213bb-6eaa-7201-9812-e811805f63d4"


def one(text: str) -> Line:
    [line] = read(text)
    return line


@pytest.mark.parametrize(
    ("written", "minor_units"),
    [
        ("1", 100), ("1234", 123_400), ("1234.5", 123_450), ("1234,56", 123_456),
        ("1.234,56", 123_456), ("1,234.56", 123_456), ("R$ 1.234.567,89", 123_456_789),
        ("1.234.567", 123_456_700), ("0,01", 1), ("R$\u00a010,00", 1_000), ("007", 700),
    ],
)  # fmt: skip
def test_an_amount_is_read_exactly(written: str, minor_units: int) -> None:
    assert read_amount(written) == minor_units


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("1.234", "AMOUNT_AMBIGUOUS"), ("1,234", "AMOUNT_AMBIGUOUS"), ("", "AMOUNT_INVALID"),
        ("-1", "AMOUNT_INVALID"), ("1e3", "AMOUNT_INVALID"), ("1.2345", "AMOUNT_INVALID"),
        ("12.34,56", "AMOUNT_INVALID"), ("\u0661", "AMOUNT_INVALID"), ("NaN", "AMOUNT_INVALID"),
        ("0,00", "AMOUNT_NOT_POSITIVE"), ("9" * 14, "AMOUNT_INVALID"), ("US$ 5", "AMOUNT_INVALID"),
    ],
)  # fmt: skip
def test_what_is_no_amount_or_could_be_two_is_refused(written: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_amount(written)
    assert caught.value.reason == reason


@given(st.integers(1, 10**12), st.sampled_from(["{}.{:02}", "{},{:02}", "R$ {:,}.{:02}"]))
def test_what_is_written_is_what_is_read(minor_units: int, form: str) -> None:
    assert read_amount(form.format(*divmod(minor_units, 100))) == minor_units


@pytest.mark.parametrize(
    "text",
    [
        f'payee,amount,description\n{ID},"1.234,56",Aluguel\n',
        f"favorecido;valor;descrição\r\n{ID};1.234,56;Aluguel\r\n",
        f"\ufeffsep=;\nDescrição;Valor;Favorecido\nAluguel;1234.56;{ID}\n",
        f"payee\tamount\tdescription\n{ID}\tR$ 1.234,56\tAluguel",
        f'payee,amount,description\n"=""{ID}""",1234.56,\'Aluguel\n\n,,\n',
    ],
)
def test_every_dialect_says_the_same(text: str) -> None:
    line = one(text)

    assert (line.payee, line.amount.minor_units) == (ID, 123_456)
    assert (line.description, line.refusal) == ("Aluguel", None)


def test_a_payee_is_an_account_a_supplier_or_a_key() -> None:
    text = f"payee,amount,kind\n{ID},1,\n{ID},1,supplier\n{ID},1,pix\n+5511987654321,1,\n"

    account, supplier, random, phone = read(text)

    assert (account.payee, supplier.supplier_id, random.pix_key) == (ID, ID, ID)
    assert phone.pix_key == "+5511987654321"


def test_each_bad_line_says_what_is_wrong_with_it_and_the_others_stand() -> None:
    text = (
        "payee,amount,description,kind\n"
        f"{ID},10.00,rent,\n"
        f"{ID},1.234,rent,\n"
        ",10.00,rent,\n"
        f'{ID},10.00,"=HYPERLINK(""x"")",\n'
        f"{ID},10.00,{'x' * 141},\n"
        "no uuid,10.00,rent,account\n"
        f"{ID},10.00,rent,boleto\n"
        "x,10.00,rent,\n"
        f"{ID}\n"
    )

    lines = read(text)

    assert [line.refusal.reason if line.refusal else "" for line in lines] == [
        "", "AMOUNT_AMBIGUOUS", "PAYEE_MISSING", "CELL_IS_FORMULA", "DESCRIPTION_TOO_LONG",
        "PAYEE_INVALID", "KIND_INVALID", "PAYEE_INVALID", "AMOUNT_INVALID",
    ]  # fmt: skip
    assert [line.number for line in lines] == list(range(2, 11))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "CSV_HEADER_INVALID"),
        ("a,b\n1,2\n", "CSV_HEADER_INVALID"),
        ("payee,amount\n", "BATCH_EMPTY"),
        ('payee,amount\n"open,1\n', "CSV_INVALID"),
        ("payee,amount\n\0,1\n", "CSV_INVALID"),
        ("payee,amount\n" + "x@example.com,1\n" * (MOST_LINES + 1), "BATCH_TOO_LONG"),
    ],
)
def test_what_is_no_such_file_is_refused_whole(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(text)
    assert caught.value.reason == reason


@given(st.text(max_size=200))
def test_nothing_that_is_written_breaks_the_reader(text: str) -> None:
    try:
        lines = read("payee,amount\n" + text)
    except InvalidArgument:
        return
    for line in lines:
        assert line.refusal or line.amount.minor_units > 0
