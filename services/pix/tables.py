"""The tables of pix: its own, its copies of what others own, and the books of the sandbox."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Index, MetaData, UniqueConstraint, text
from sqlmodel import Field, SQLModel

MOST_KEYS = 20

IS_ACTIVE = text("status = 'active'")
IS_KEPT = text("status <> 'removed'")
IS_RUNNING = text("status IN ('open', 'waiting_resolution', 'confirmed')")
HAS_TXID = text("txid <> ''")

# For the rows that were there before the column.
EMPTY = {"server_default": ""}
NOTHING = {"server_default": text("0")}


def unique_where(name: str, condition: object, *columns: str) -> Index:
    return Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)


class Table(SQLModel):
    """The base of this service's tables."""

    metadata: ClassVar[MetaData] = MetaData()


class PaymentRow(Table, table=True):
    __tablename__ = "payments"
    __table_args__ = (
        UniqueConstraint("end_to_end_id", name="payments_end_to_end"),
        CheckConstraint("minor_units > 0", name="payments_amount"),
        CheckConstraint("returned BETWEEN 0 AND minor_units", name="payments_returned"),
        Index("payments_created", "created_at_us"),
    )

    id: str = Field(primary_key=True, max_length=36)
    pix_key: str = Field(max_length=77)
    account_id: str = Field(max_length=36)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    description: str = Field(max_length=140)
    end_to_end_id: str = Field(max_length=32)
    created_at_us: int = Field(sa_type=BigInteger)
    status: str = Field(max_length=8)
    rejection_code: str = Field(max_length=64)
    payer_account_id: str = Field(max_length=36, sa_column_kwargs=EMPTY)
    txid: str = Field(max_length=35, sa_column_kwargs=EMPTY)
    returned: int = Field(sa_type=BigInteger, sa_column_kwargs=NOTHING)


class DepositRow(Table, table=True):
    __tablename__ = "deposits"
    __table_args__ = (
        UniqueConstraint("request_id", name="deposits_request"),
        UniqueConstraint("end_to_end_id", name="deposits_end_to_end"),
        CheckConstraint("minor_units > 0", name="deposits_amount"),
        CheckConstraint("returned BETWEEN 0 AND minor_units", name="deposits_returned"),
        Index("deposits_account", "account_id", "id"),
        Index("deposits_created", "created_at_us"),
    )

    id: str = Field(primary_key=True, max_length=36)
    request_id: str | None = Field(max_length=255)
    account_id: str = Field(max_length=36)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    description: str = Field(max_length=140)
    end_to_end_id: str = Field(max_length=32)
    created_at_us: int = Field(sa_type=BigInteger)
    status: str = Field(max_length=8)
    rejection_code: str = Field(max_length=64)
    txid: str = Field(max_length=35, sa_column_kwargs=EMPTY)
    returned: int = Field(sa_type=BigInteger, sa_column_kwargs=NOTHING)


class ReturnRow(Table, table=True):
    """What is given back: of a deposit by us, or of a payment by the other bank."""

    __tablename__ = "returns"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="returns_request"),
        UniqueConstraint("return_end_to_end_id", name="returns_end_to_end"),
        CheckConstraint("minor_units > 0", name="returns_amount"),
        CheckConstraint("direction IN ('in', 'out')", name="returns_direction"),
        CheckConstraint("status IN ('pending', 'settled', 'failed')", name="returns_status"),
        Index("returns_original", "original_id", "id"),
        Index("returns_created", "created_at_us"),
    )

    id: str = Field(primary_key=True, max_length=36)
    direction: str = Field(max_length=3)
    original_id: str = Field(max_length=36)
    account_id: str = Field(max_length=36)
    requested_by: str = Field(max_length=36)
    request_id: str | None = Field(max_length=255)
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    reason: str = Field(max_length=4)
    description: str = Field(max_length=140)
    end_to_end_id: str = Field(max_length=32)
    return_end_to_end_id: str = Field(max_length=32)
    status: str = Field(max_length=8)
    failure_reason: str = Field(max_length=64)
    created_at_us: int = Field(sa_type=BigInteger)


class AccountRow(Table, table=True):
    __tablename__ = "accounts"

    id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(max_length=36, index=True)
    is_open: bool


class MembershipRow(Table, table=True):
    __tablename__ = "memberships"

    user_id: str = Field(primary_key=True, max_length=36)
    company_id: str = Field(primary_key=True, max_length=36)
    # Null when the user has no part in the company any more.
    may_act: bool | None


class KeyRow(Table, table=True):
    """A key of an account. The slot is what bounds how many an account has."""

    __tablename__ = "keys"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="keys_request"),
        UniqueConstraint("account_id", "slot", name="keys_slot"),
        CheckConstraint(f"slot BETWEEN 1 AND {MOST_KEYS}", name="keys_slots"),
        CheckConstraint("(slot IS NULL) = (status = 'removed')", name="keys_slot_kept"),
        unique_where("keys_active", IS_ACTIVE, "pix_key"),
        unique_where("keys_kept", IS_KEPT, "account_id", "pix_key"),
    )

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(max_length=36)
    kind: str = Field(max_length=6)
    pix_key: str = Field(max_length=77)
    status: str = Field(max_length=16)
    slot: int | None
    requested_by: str = Field(max_length=36)
    request_id: str = Field(max_length=255)
    created_at_us: int = Field(sa_type=BigInteger)
    # A portability is between accounts of one holder.
    is_same_holder: bool
    code_hash: str = Field(max_length=64)
    code_tries_left: int
    code_expires_at_us: int = Field(sa_type=BigInteger)


class ClaimRow(Table, table=True):
    __tablename__ = "claims"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="claims_request"),
        unique_where("claims_running", IS_RUNNING, "pix_key"),
        Index("claims_claimer", "claimer_account_id", "id"),
        Index("claims_donor", "donor_account_id", "id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    key_id: str = Field(max_length=36)
    pix_key: str = Field(max_length=77)
    kind: str = Field(max_length=11)
    status: str = Field(max_length=18)
    claimer_account_id: str = Field(max_length=36)
    donor_account_id: str = Field(max_length=36)
    requested_by: str = Field(max_length=36)
    request_id: str | None = Field(max_length=255)
    confirm_reason: str = Field(max_length=17)
    cancel_reason: str = Field(max_length=17)
    created_at_us: int = Field(sa_type=BigInteger)


class LookupRow(Table, table=True):
    """How many more keys a user may look up: thousandths of a token, as of a moment."""

    __tablename__ = "lookups"

    user_id: str = Field(primary_key=True, max_length=36)
    tokens: int = Field(sa_type=BigInteger)
    as_of_us: int = Field(sa_type=BigInteger)


class QrCodeRow(Table, table=True):
    __tablename__ = "qr_codes"
    __table_args__ = (
        UniqueConstraint("requested_by", "request_id", name="qr_codes_request"),
        UniqueConstraint("token", name="qr_codes_token"),
        CheckConstraint("minor_units >= 0", name="qr_codes_amount"),
        unique_where("qr_codes_txid", HAS_TXID, "account_id", "txid"),
        Index("qr_codes_account", "account_id", "id"),
    )

    id: str = Field(primary_key=True, max_length=36)
    account_id: str = Field(max_length=36)
    kind: str = Field(max_length=7)
    status: str = Field(max_length=9)
    br_code: str = Field(max_length=512)
    pix_key: str = Field(max_length=77)
    merchant_name: str = Field(max_length=25)
    merchant_city: str = Field(max_length=15)
    txid: str = Field(max_length=35)
    # Zero: the payer says.
    minor_units: int = Field(sa_type=BigInteger)
    currency: str = Field(max_length=3)
    description: str = Field(max_length=140)
    token: str | None = Field(max_length=36)
    location: str = Field(max_length=77, sa_column_kwargs=EMPTY)
    expires_at_us: int = Field(sa_type=BigInteger)
    # The deposit that is paying it, or has paid it.
    deposit_id: str = Field(max_length=36)
    end_to_end_id: str = Field(max_length=32)
    requested_by: str = Field(max_length=36)
    request_id: str = Field(max_length=255)
    created_at_us: int = Field(sa_type=BigInteger)


class SigningKeyRow(Table, table=True):
    """The key with which charges are signed (PEM)."""

    __tablename__ = "signing_keys"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    kid: str = Field(max_length=43)
    pem: str = Field(max_length=2_000)


class ClearingRow(Table, table=True):
    """This service's copy of the ledger's clearing account."""

    __tablename__ = "clearing"

    entry_id: str = Field(primary_key=True, max_length=36)
    minor_units: int = Field(sa_type=BigInteger)
    occurred_at_us: int = Field(sa_type=BigInteger)
    version: int = Field(sa_type=BigInteger, index=True, sa_column_kwargs=NOTHING)


class SettlementRow(Table, table=True):
    """A line of the rail's settlement file."""

    __tablename__ = "settlement_lines"
    __table_args__ = (Index("settlement_lines_settled", "settled_at_us", "end_to_end_id"),)

    end_to_end_id: str = Field(primary_key=True, max_length=32)
    minor_units: int = Field(sa_type=BigInteger)
    settled_at_us: int = Field(sa_type=BigInteger)


class RailMessageRow(Table, table=True):
    __tablename__ = "rail_messages"
    __table_args__ = (Index("rail_messages_decided", "outcome", "decided_at_us"),)

    end_to_end_id: str = Field(primary_key=True, max_length=32)
    kind: str = Field(max_length=7)
    original: str = Field(max_length=32)
    minor_units: int = Field(sa_type=BigInteger)
    outcome: str = Field(max_length=8)
    code: str = Field(max_length=35)
    decided_at_us: int = Field(sa_type=BigInteger)
    play: str = Field(max_length=60)


class RailLostRow(Table, table=True):
    __tablename__ = "rail_lost"

    end_to_end_id: str = Field(primary_key=True, max_length=32)


class RailBehaviourRow(Table, table=True):
    __tablename__ = "rail_behaviour"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    rejected: int
    lost_settled: int
    lost_rejected: int
    lost_message: int
    rejection_code: str = Field(max_length=4)
    delay_ms: int


class RailEntryRow(Table, table=True):
    __tablename__ = "rail_entries"

    pix_key: str = Field(primary_key=True, max_length=77)
    document: str = Field(max_length=14)
    name: str = Field(max_length=140)
