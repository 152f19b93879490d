"""Transfers, and the copies of accounts and memberships."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "transfers",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("company_id", sa.String(36), nullable=False),
        sa.Column("payer_account_id", sa.String(36), nullable=False),
        sa.Column("payee_account_id", sa.String(36), nullable=False),
        sa.Column("pix_key", sa.String(77), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("scheduled_for_us", sa.BigInteger),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("failure_reason", sa.String(64), nullable=False),
        sa.Column("end_to_end_id", sa.String(32), nullable=False),
        sa.UniqueConstraint("requested_by", "request_id", name="transfers_request"),
        sa.CheckConstraint("minor_units > 0", name="transfers_amount"),
        sa.CheckConstraint("(payee_account_id = '') <> (pix_key = '')", name="transfers_payee"),
    )
    op.create_index("transfers_company", "transfers", ["company_id", "id"])
    op.create_table(
        "accounts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("company_id", sa.String(36), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("company_id", sa.String(36), primary_key=True),
        sa.Column("may_pay", sa.Boolean),
    )
