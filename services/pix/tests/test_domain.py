"""Keys, and payments that keep their identity."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import AlreadyExists, InvalidArgument
from services.money import Money
from services.pix.domain.payments import Key, KeyKind, Status

from .fakes import a_payment


@pytest.mark.parametrize(
    ("written", "kind", "value"),
    [
        ("529.982.247-25", KeyKind.CPF, "52998224725"),
        ("52998224725", KeyKind.CPF, "52998224725"),
        ("16.727.230/0001-97", KeyKind.CNPJ, "16727230000197"),
        ("12abc34501de35", KeyKind.CNPJ, "12ABC34501DE35"),
        (" Ana.Souza@Example.COM ", KeyKind.EMAIL, "ana.souza@example.com"),
        ("+5511987654321", KeyKind.PHONE, "+5511987654321"),
        (
            "0198C3A1-0000-7000-8000-000000000001",
            KeyKind.RANDOM,
            "0198c3a1-0000-7000-8000-000000000001",
        ),
    ],
)
def test_a_key_is_read_as_people_write_it(written: str, kind: KeyKind, value: str) -> None:
    assert Key.parse(written) == Key(kind, value)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "abc",
        "52998224724",
        "11111111111",
        "16727230000198",
        "5511987654321",
        "+0511987654321",
        "ana@",
        "@example.com",
        "ana@example",
        "ana souza@example.com",
        f"{'a' * 70}@example.com",
        "0198c3a1-0000-7000-8000-00000000000",
        "0198c3a1000070008000000000000001",
    ],
)
def test_what_is_no_key_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgument, match="no Pix key") as caught:
        Key.parse(written)
    assert caught.value.reason == "INVALID_PIX_KEY"


@given(st.text(max_size=80))
def test_a_key_is_known_by_its_own_form(written: str) -> None:
    try:
        key = Key.parse(written)
    except InvalidArgument:
        return
    assert Key.parse(key.value) == key


def test_an_id_names_one_payment() -> None:
    payment = a_payment()
    payment.must_be(payment.key, payment.amount, payment.description)

    with pytest.raises(AlreadyExists):
        payment.must_be("bia@example.com", payment.amount, payment.description)
    with pytest.raises(AlreadyExists):
        payment.must_be(payment.key, Money(101, "BRL"), payment.description)


def test_the_other_end_of_a_payment_is_always_the_same_deposit() -> None:
    payment = a_payment(account="account")

    assert payment.as_deposit() == replace(payment, status=Status.SETTLED).as_deposit()
    assert payment.as_deposit().id != payment.id
