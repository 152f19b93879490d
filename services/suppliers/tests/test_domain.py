"""What is a document, a key and a name, and how a supplier changes."""

from __future__ import annotations

import pytest

from mesh.errors import FailedPrecondition, InvalidArgument
from services.suppliers import domain
from services.suppliers.domain import Change, Status, Supplier

SUPPLIER = Supplier(
    id="supplier",
    company_id="company",
    created_by="ana",
    request_id="request",
    name="Lima",
    document="11222333000181",
    pix_key="+5511987654321",
    favourite=False,
    created_at_us=1,
    updated_at_us=1,
)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("529.982.247-25", "52998224725"),
        (" 11.222.333/0001-81 ", "11222333000181"),
        ("12.abc.345/01de-35", "12ABC34501DE35"),
    ],
)
def test_documents_are_read_as_people_write_them(written: str, read: str) -> None:
    assert domain.document(written) == read


@pytest.mark.parametrize("written", ["", "11111111111", "52998224724", "²11.222.333/0001-81", "x"])
def test_what_is_no_document_is_refused(written: str) -> None:
    with pytest.raises(InvalidArgument):
        domain.document(written)


def test_a_name_is_one_readable_line() -> None:
    assert domain.called("  Moinho \n São  João ") == "Moinho São João"
    for written in ("   ", "Moinho\u202e"):
        with pytest.raises(InvalidArgument):
            domain.called(written)


def test_a_change_that_changes_nothing_is_none() -> None:
    assert SUPPLIER.changed(Change(name="Lima", version=7, at_us=2)) is SUPPLIER
    assert SUPPLIER.changed(Change(at_us=2)) is SUPPLIER


def test_a_change_makes_a_version() -> None:
    changed = SUPPLIER.changed(Change(favourite=True, version=1, at_us=2))

    assert (changed.version, changed.updated_at_us, changed.created_at_us) == (2, 2, 1)
    with pytest.raises(FailedPrecondition):
        changed.changed(Change(name="Outro", version=1, at_us=3))


def test_what_is_removed_stays_so() -> None:
    removed = SUPPLIER.removed(2)

    assert (removed.status, removed.version) == (Status.REMOVED, 2)
    assert removed.removed(3) is removed
    with pytest.raises(FailedPrecondition):
        removed.changed(Change(favourite=True, at_us=3))


def test_nothing_personal_is_in_what_a_log_would_show() -> None:
    shown = repr(SUPPLIER) + repr(Change(name="Lima", pix_key="+5511987654321", at_us=1))

    assert not any(word in shown for word in ("Lima", "11222333000181", "+5511987654321"))
