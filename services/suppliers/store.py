"""Where suppliers and their changes are kept, and the copy of who may act for a company."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from bank.suppliers.v1 import events_pb2 as events
from mesh.db import Row, UnitOfWork, sql

from . import domain
from .domain import Change, Query, Saving, Status, Supplier

IS_ACTIVE = text("status = 'active'")


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class SupplierRow(Table, table=True):
    __tablename__ = "suppliers"
    __table_args__ = (
        UniqueConstraint("created_by", "request_id", name="suppliers_request"),
        CheckConstraint("status IN ('active', 'removed')", name="suppliers_status"),
        Index("suppliers_company", "company_id", "id"),
        Index(
            "suppliers_document",
            "company_id",
            "document",
            unique=True,
            sqlite_where=IS_ACTIVE,
            postgresql_where=IS_ACTIVE,
        ),
    )

    id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(sa_type=Text)
    created_by: str = Field(sa_type=Text)
    request_id: str = Field(sa_type=Text)
    name: str = Field(sa_type=Text)
    document: str = Field(sa_type=Text)
    pix_key: str = Field(sa_type=Text)
    favourite: bool = Field(sa_type=Boolean)
    status: str = Field(sa_type=Text)
    version: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
    updated_at_us: int = Field(sa_type=BigInteger)


class SavingRow(Table, table=True):
    """What a supplier was from one saving to the next: only ever added to."""

    __tablename__ = "savings"

    supplier_id: str = Field(primary_key=True, sa_type=Text, foreign_key="suppliers.id")
    version: int = Field(
        primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False}
    )
    saved_by: str = Field(sa_type=Text)
    saved_at_us: int = Field(sa_type=BigInteger)
    name: str = Field(sa_type=Text)
    pix_key: str = Field(sa_type=Text)
    favourite: bool = Field(sa_type=Boolean)
    status: str = Field(sa_type=Text)


class MembershipRow(Table, table=True):
    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, sa_type=Text)
    company_id: str = Field(primary_key=True, sa_type=Text)
    # Null when the user has no part in the company any more.
    may_change: bool | None = Field(sa_type=Boolean)


ADD = sql(
    "INSERT INTO suppliers (id, company_id, created_by, request_id, name, document, pix_key,"
    " favourite, status, version, created_at_us, updated_at_us) VALUES (:id, :company,"
    " :created_by, :request_id, :name, :document, :pix_key, :favourite, :status, :version,"
    " :created_at, :updated_at) ON CONFLICT DO NOTHING"
)
ADD_SAVING = sql(
    "INSERT INTO savings (supplier_id, version, saved_by, saved_at_us, name, pix_key, favourite,"
    " status) VALUES (:supplier, :version, :saved_by, :saved_at, :name, :pix_key, :favourite,"
    " :status)"
)
REPEATED = sql("SELECT * FROM suppliers WHERE created_by = :user AND request_id = :request_id")
FIRST_SAVING = sql("SELECT * FROM savings WHERE supplier_id = :id AND version = 1")
SAVINGS = sql("SELECT * FROM savings WHERE supplier_id = :id ORDER BY version DESC LIMIT :size")
GET = sql(
    "SELECT suppliers.*, may_change FROM suppliers JOIN memberships USING (company_id)"
    " WHERE id = :id AND user_id = :user AND may_change IS NOT NULL"
)
LOCK = sql(f"{GET.text} FOR UPDATE")
SAVE = sql(
    "UPDATE suppliers SET name = :name, pix_key = :pix_key, favourite = :favourite,"
    " status = :status, version = :version, updated_at_us = :updated_at WHERE id = :id"
)
PAGE = sql(
    "SELECT * FROM suppliers WHERE id < :before AND company_id IN"
    " (SELECT company_id FROM memberships WHERE user_id = :user AND may_change IS NOT NULL)"
    " AND CAST(:company AS text) IN ('', company_id)"
    " AND (favourite OR NOT CAST(:only_favourites AS boolean))"
    " AND (status = 'active' OR CAST(:with_removed AS boolean))"
    " ORDER BY id DESC LIMIT :size"
)
ACTIVE = sql("SELECT * FROM suppliers WHERE id = :id AND status = 'active'")
COMPANIES = sql(
    "SELECT company_id, may_change FROM memberships"
    " WHERE user_id = :user AND may_change IS NOT NULL"
)
SET_MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, may_change)"
    " VALUES (:user, :company, :may_change)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET may_change = excluded.may_change"
)


async def add(work: UnitOfWork, asked: Supplier) -> tuple[Supplier, bool]:
    """Keeps a supplier, or finds the one that was asked for before; tells it and if it is new."""
    rows = await work.fetch_all(COMPANIES, user=asked.created_by)
    companies = {row["company_id"]: bool(row["may_change"]) for row in rows}
    company_id = domain.company_to_change(companies, asked.company_id)
    supplier = replace(asked, company_id=company_id)
    if await work.execute(ADD, **columns(supplier)):
        await note(work, supplier, supplier.created_by, key_changed=True)
        return supplier, True
    row = await work.fetch_one(REPEATED, user=asked.created_by, request_id=asked.request_id)
    if row is None:
        raise domain.supplier_exists()
    kept = to_supplier(row)
    first = await work.fetch_one(FIRST_SAVING, id=kept.id)
    assert first is not None, "a supplier is noted when it is added"
    saving = to_saving(first)
    asked.must_repeat(
        replace(kept, name=saving.name, pix_key=saving.pix_key, favourite=saving.favourite),
        asked.company_id,
    )
    return kept, False


async def change(work: UnitOfWork, supplier_id: str, user_id: str, change: Change) -> Supplier:
    """Changes a supplier of one of the user's companies."""
    before = await lock(work, supplier_id, user_id)
    return await save(work, before, before.changed(change), user_id)


async def remove(work: UnitOfWork, supplier_id: str, user_id: str, at_us: int) -> Supplier:
    """Removes a supplier of one of the user's companies."""
    before = await lock(work, supplier_id, user_id)
    return await save(work, before, before.removed(at_us), user_id)


async def lock(work: UnitOfWork, supplier_id: str, user_id: str) -> Supplier:
    """Reads a supplier that the user may change, and keeps others from changing it meanwhile."""
    row = await work.fetch_one(LOCK, id=supplier_id, user=user_id)
    if row is None:
        raise domain.no_such_supplier()
    domain.must_be_allowed(bool(row["may_change"]))
    return to_supplier(row)


async def save(work: UnitOfWork, before: Supplier, after: Supplier, user_id: str) -> Supplier:
    if after != before:
        await work.execute(
            SAVE,
            id=after.id,
            name=after.name,
            pix_key=after.pix_key,
            favourite=after.favourite,
            status=after.status.value,
            version=after.version,
            updated_at=after.updated_at_us,
        )
        await note(work, after, user_id, key_changed=after.pix_key != before.pix_key)
    return after


async def note(work: UnitOfWork, supplier: Supplier, user_id: str, *, key_changed: bool) -> None:
    """Keeps what a supplier is from now on, and tells that it was saved."""
    await work.execute(
        ADD_SAVING,
        supplier=supplier.id,
        version=supplier.version,
        saved_by=user_id,
        saved_at=supplier.updated_at_us,
        name=supplier.name,
        pix_key=supplier.pix_key,
        favourite=supplier.favourite,
        status=supplier.status.value,
    )
    work.publish(told(supplier, user_id, key_changed=key_changed), version=supplier.version)


async def get(work: UnitOfWork, supplier_id: str, user_id: str) -> Supplier:
    """Reads a supplier of one of the user's companies."""
    row = await work.fetch_one(GET, id=supplier_id, user=user_id)
    if row is None:
        raise domain.no_such_supplier()
    return to_supplier(row)


async def get_active(work: UnitOfWork, supplier_id: str) -> Supplier:
    """Reads a supplier that may be paid, whosever it is."""
    row = await work.fetch_one(ACTIVE, id=supplier_id)
    if row is None:
        raise domain.no_such_supplier()
    return to_supplier(row)


async def page(work: UnitOfWork, query: Query) -> list[Supplier]:
    """Reads suppliers of the user's companies, the newest first."""
    rows = await work.fetch_all(
        PAGE,
        user=query.user_id,
        company=query.company_id,
        only_favourites=query.only_favourites,
        with_removed=query.with_removed,
        before=query.before,
        size=query.size,
    )
    return [to_supplier(row) for row in rows]


async def savings(work: UnitOfWork, supplier_id: str, user_id: str, size: int) -> list[Saving]:
    """Reads what a supplier of one of the user's companies has been, the newest first."""
    await get(work, supplier_id, user_id)
    return [to_saving(row) for row in await work.fetch_all(SAVINGS, id=supplier_id, size=size)]


async def set_member(
    work: UnitOfWork, user_id: str, company_id: str, may_change: bool | None
) -> None:
    await work.execute(SET_MEMBER, user=user_id, company=company_id, may_change=may_change)


def columns(supplier: Supplier) -> dict[str, object]:
    return {
        "id": supplier.id,
        "company": supplier.company_id,
        "created_by": supplier.created_by,
        "request_id": supplier.request_id,
        "name": supplier.name,
        "document": supplier.document,
        "pix_key": supplier.pix_key,
        "favourite": supplier.favourite,
        "status": supplier.status.value,
        "version": supplier.version,
        "created_at": supplier.created_at_us,
        "updated_at": supplier.updated_at_us,
    }


def to_supplier(row: Row) -> Supplier:
    return Supplier(
        id=row["id"],
        company_id=row["company_id"],
        created_by=row["created_by"],
        request_id=row["request_id"],
        name=row["name"],
        document=row["document"],
        pix_key=row["pix_key"],
        favourite=bool(row["favourite"]),
        created_at_us=row["created_at_us"],
        updated_at_us=row["updated_at_us"],
        status=Status(row["status"]),
        version=row["version"],
    )


def to_saving(row: Row) -> Saving:
    return Saving(
        version=row["version"],
        saved_by=row["saved_by"],
        saved_at_us=row["saved_at_us"],
        name=row["name"],
        pix_key=row["pix_key"],
        favourite=bool(row["favourite"]),
        status=Status(row["status"]),
    )


def told(
    supplier: Supplier, user_id: str, *, key_changed: bool
) -> events.SupplierSaved | events.SupplierRemoved:
    if supplier.status is Status.REMOVED:
        return events.SupplierRemoved(
            supplier_id=supplier.id,
            company_id=supplier.company_id,
            version=supplier.version,
            removed_by=user_id,
        )
    return events.SupplierSaved(
        supplier_id=supplier.id,
        company_id=supplier.company_id,
        version=supplier.version,
        changed_by=user_id,
        key_changed=key_changed,
    )
