"""Two services know the form of a Pix key, each for itself; they must not come to disagree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import InvalidArgument
from services.pix.domain.payments import Key
from services.suppliers.domain import pix_key

WRITTEN = [
    "529.982.247-25",
    "52998224725",
    "52998224724",
    "00000000000",
    "11.222.333/0001-81",
    "12.ABC.345/01DE-35",
    "12abc34501de35",
    " Ana@Example.com ",
    "ana@example",
    "ana@-example.com",
    f"{'a' * 66}@example.com",
    f"{'a' * 65}@example.com",
    "+5511987654321",
    "+05511987654321",
    "5511987654321",
    "01A212F2-2d68-754a-9f62-36f1c9057b3d",
    "01a212f22d68754a9f6236f1c9057b3d",
    "²52998224725",
    "",
]
DIGITS = st.text("0123456789", min_size=9, max_size=14)
ANY = st.text("0123456789abz.-/+@ ", max_size=30)


def read(parse: Callable[[str], str], written: str) -> str:
    try:
        return parse(written)
    except InvalidArgument as refusal:
        return refusal.reason


@pytest.mark.parametrize("written", WRITTEN)
def test_suppliers_takes_what_pix_takes(written: str) -> None:
    assert read(pix_key, written) == read(lambda text: Key.parse(text).value, written)


@settings(deadline=None)
@given(DIGITS | ANY)
def test_suppliers_takes_what_pix_takes_whatever_is_written(written: str) -> None:
    assert read(pix_key, written) == read(lambda text: Key.parse(text).value, written)
