"""Keys of accounts, claims, and the copies of who may act for which account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    accounts()
    memberships()
    keys()
    claims()
    lookups()


def accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("company_id", sa.String(36), nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
    )
    op.create_index("ix_accounts_company_id", "accounts", ["company_id"])


def memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("company_id", sa.String(36), primary_key=True),
        sa.Column("may_act", sa.Boolean),
    )


def keys() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(6), nullable=False),
        sa.Column("pix_key", sa.String(77), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("slot", sa.Integer),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("is_same_holder", sa.Boolean, nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("code_tries_left", sa.Integer, nullable=False),
        sa.Column("code_expires_at_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint("(slot IS NULL) = (status = 'removed')", name="keys_slot_kept"),
        sa.CheckConstraint("slot BETWEEN 1 AND 20", name="keys_slots"),
        sa.UniqueConstraint("requested_by", "request_id", name="keys_request"),
        sa.UniqueConstraint("account_id", "slot", name="keys_slot"),
    )
    unique_where("keys_active", "keys", "status = 'active'", "pix_key")
    unique_where("keys_kept", "keys", "status <> 'removed'", "account_id", "pix_key")


def claims() -> None:
    op.create_table(
        "claims",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("pix_key", sa.String(77), nullable=False),
        sa.Column("kind", sa.String(11), nullable=False),
        sa.Column("status", sa.String(18), nullable=False),
        sa.Column("claimer_account_id", sa.String(36), nullable=False),
        sa.Column("donor_account_id", sa.String(36), nullable=False),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255)),
        sa.Column("confirm_reason", sa.String(17), nullable=False),
        sa.Column("cancel_reason", sa.String(17), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("requested_by", "request_id", name="claims_request"),
    )
    op.create_index("claims_claimer", "claims", ["claimer_account_id", "id"])
    op.create_index("claims_donor", "claims", ["donor_account_id", "id"])
    unique_where(
        "claims_running",
        "claims",
        "status IN ('open', 'waiting_resolution', 'confirmed')",
        "pix_key",
    )


def lookups() -> None:
    op.create_table(
        "lookups",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("as_of_us", sa.BigInteger, nullable=False),
    )


def unique_where(name: str, table: str, condition: str, *columns: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=True, sqlite_where=where, postgresql_where=where)
