"""Codes held against the central bank's examples, other people's writers, and their own reader."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.pix.domain.codes import BrCode, crc, decimal, minor_units, plain

# From the Manual do BR Code.
OFFICIAL_STATIC = (
    "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-426655440000"
    "5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***63041D3D"
)
OFFICIAL_DYNAMIC = (
    "00020101021226700014br.gov.bcb.pix2548pix.example.com/8b3da2f39a4140d1a91abd93113bd441"
    "5204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***630464E4"
)
FULANO = BrCode(key="123e4567-e12b-12d1-a456-426655440000", name="Fulano de Tal", city="BRASILIA")
CHARGED = BrCode(
    location="pix.example.com/8b3da2f39a4140d1a91abd93113bd441",
    name="Fulano de Tal",
    city="BRASILIA",
)
ORDERED = BrCode(
    key="+5511987654321",
    name="Padaria Pao Quente",
    city="Sao Paulo",
    minor_units=12_345,
    txid="PEDIDO42",
    description="Pao",
)
# What others write: pixqrcodegen 0.9.1, pybrcode 1.1, pix-utils 1.0.1.
BY_OTHERS = [
    (
        "00020126360014BR.GOV.BCB.PIX0114+55119876543215204000053039865405"
        "10.505802BR5911Padaria Pao6009Sao Paulo62100506LOJA01630424EA",
        ("+5511987654321", 1_050, "LOJA01", ""),
    ),
    (
        "00020101021226650014BR.GOV.BCB.PIX0136123e4567-e12b-42d1-a456-4266554400000203Pao"
        "5204000053039865406123.455802BR5918Padaria Pao Quente6009Sao Paulo"
        "62120508PEDIDO4263043D67",
        ("123e4567-e12b-42d1-a456-426655440000", 12_345, "PEDIDO42", "Pao"),
    ),
    (
        "00020126370014BR.GOV.BCB.PIX0115ana@example.com5204000053039865405"
        "12.505802BR5911Padaria Pao6009Sao Paulo62120508PEDIDO426304EEA0",
        ("ana@example.com", 1_250, "PEDIDO42", ""),
    ),
]

LETTERS = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", min_size=1)
TXIDS = st.text("abcXYZ0189", max_size=25)
CODES = st.builds(
    BrCode,
    key=st.sampled_from(["52998224725", "ana@example.com", "+5511987654321"]),
    name=LETTERS.map(lambda text: text[:25]),
    city=LETTERS.map(lambda text: text[:15]),
    minor_units=st.integers(0, 10**12 - 1),
    txid=TXIDS,
    description=st.text("abc XYZ", max_size=30),
)


@pytest.mark.parametrize(("code", "text"), [(FULANO, OFFICIAL_STATIC), (CHARGED, OFFICIAL_DYNAMIC)])
def test_codes_are_written_and_read_as_the_manual_does(code: BrCode, text: str) -> None:
    assert code.write() == text
    assert BrCode.read(text) == code


@pytest.mark.parametrize(("text", "said"), BY_OTHERS)
def test_what_others_write_is_read(text: str, said: tuple[str, int, str, str]) -> None:
    read = BrCode.read(text)

    assert (read.key, read.minor_units, read.txid, read.description) == said


def test_templates_of_other_schemes_and_unreserved_ones_are_passed_over() -> None:
    fields = ORDERED.write()[:-8]
    others = f"{fields}8019{'0010br.com.xyz0101x'}2612"[:-4] + "5012" + "0008br.other"
    text = f"{others}6304"

    assert BrCode.read(text + crc(text)) == ORDERED


@given(CODES)
def test_a_code_says_what_was_written_into_it(code: BrCode) -> None:
    assert BrCode.read(code.write()) == code


@given(st.integers(0, len(OFFICIAL_STATIC) - 5), st.characters(min_codepoint=33, max_codepoint=126))
def test_a_code_with_one_wrong_letter_is_refused(at: int, letter: str) -> None:
    wrong = OFFICIAL_STATIC[:at] + letter + OFFICIAL_STATIC[at + 1 :]
    if wrong == OFFICIAL_STATIC:
        return
    with pytest.raises(InvalidArgument) as caught:
        BrCode.read(wrong)
    assert caught.value.reason == "INVALID_BR_CODE"


@given(st.text(max_size=120))
def test_no_text_breaks_the_reader(text: str) -> None:
    for tried in (text, f"{text}6304", f"{text}6304{crc(text + '6304')}"):
        with contextlib.suppress(InvalidArgument):
            BrCode.read(tried)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "000201",
        "000201260014br.gov.bcb.pix",
        "00020126180014br.gov.bcb.pix52040000530398658",
        OFFICIAL_STATIC[:-8].replace("5303986", "5303840"),
        OFFICIAL_STATIC[:-8].replace("5802BR", "5802US"),
        OFFICIAL_STATIC[:-8].replace("br.gov.bcb.pix", "br.gov.bcb.xyz"),
        OFFICIAL_STATIC[:-8] + "5403abc",
        OFFICIAL_STATIC[:-8] + "5802BR",
        OFFICIAL_STATIC[:-8] + "99",
    ],
)
def test_a_right_checksum_alone_makes_no_code(body: str) -> None:
    text = f"{body}6304"
    with pytest.raises(InvalidArgument):
        BrCode.read(text + crc(text))


@given(st.integers(0, 10**12 - 1))
def test_an_amount_is_written_without_a_float(amount: int) -> None:
    assert minor_units(decimal(amount)) == amount


@pytest.mark.parametrize(("text", "amount"), [("1", 100), ("1.5", 150), ("0.01", 1)])
def test_an_amount_is_read_as_others_write_it(text: str, amount: int) -> None:
    assert minor_units(text) == amount


def test_a_name_is_written_in_letters_that_every_reader_knows() -> None:
    assert plain("  Padaria   São João & Irmãos\n", 25) == "Padaria Sao Joao & Irmaos"


def test_a_description_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        BrCode(key="ana@example.com", name="Ana", city="X", description="a" * 70).write()
    assert caught.value.reason == "DESCRIPTION_TOO_LONG"
