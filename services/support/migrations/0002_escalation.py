"""Tickets that are opened again, or made more urgent because their answer is overdue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

zero = sa.text("0")


def upgrade() -> None:
    op.add_column(
        "tickets", sa.Column("waits_since_us", sa.BigInteger, nullable=False, server_default=zero)
    )
    op.add_column("tickets", sa.Column("escalates_at_us", sa.BigInteger))
    op.add_column("tickets", sa.Column("escalated_at_us", sa.BigInteger))
    op.add_column(
        "tickets", sa.Column("times_reopened", sa.Integer, nullable=False, server_default=zero)
    )
    op.add_column(
        "answers",
        sa.Column("from_customer", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.execute("UPDATE tickets SET waits_since_us = created_at_us, escalates_at_us = answer_due_us")


def downgrade() -> None:
    for column in ("times_reopened", "escalated_at_us", "escalates_at_us", "waits_since_us"):
        op.drop_column("tickets", column)
    op.drop_column("answers", "from_customer")
