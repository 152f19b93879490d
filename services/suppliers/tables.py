"""The tables of suppliers, and its copies of what others own."""

from __future__ import annotations

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
    # Name, document and key, folded. The default is for the rows that were there before the column.
    sought: str = Field(sa_type=Text, sa_column_kwargs={"server_default": ""})


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


class PaymentRow(Table, table=True):
    """This service's copy of what transfers tells of payments to suppliers."""

    __tablename__ = "payments"
    __table_args__ = (Index("payments_supplier", "supplier_id", "transfer_id"),)

    transfer_id: str = Field(primary_key=True, sa_type=Text)
    supplier_id: str = Field(sa_type=Text)
    payer_account_id: str = Field(sa_type=Text)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(sa_type=Text)
    status: str = Field(sa_type=Text)
    returned: int = Field(sa_type=BigInteger)
    created_at_us: int = Field(sa_type=BigInteger)
