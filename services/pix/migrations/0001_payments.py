"""Payments that go out, and deposits that come in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("pix_key", sa.String(77), nullable=False),
        *payment_columns(),
        sa.UniqueConstraint("end_to_end_id", name="payments_end_to_end"),
        sa.CheckConstraint("minor_units > 0", name="payments_amount"),
    )
    op.create_table(
        "deposits",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("request_id", sa.String(255)),
        *payment_columns(),
        sa.UniqueConstraint("request_id", name="deposits_request"),
        sa.CheckConstraint("minor_units > 0", name="deposits_amount"),
    )


def payment_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("end_to_end_id", sa.String(32), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("rejection_code", sa.String(64), nullable=False),
    ]
