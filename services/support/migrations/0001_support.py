"""Tickets and their answers, and the copies of what others own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_tickets()
    create_copies()


def create_tickets() -> None:
    op.create_table(
        "tickets",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("trace_id", sa.Text, nullable=False),
        sa.Column("app_version", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("last_events", sa.Text, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("answer_due_us", sa.BigInteger, nullable=False),
        sa.Column("first_answered_at_us", sa.BigInteger),
        sa.Column("resolved_at_us", sa.BigInteger),
        sa.UniqueConstraint("opened_by", "request_id", name="tickets_request"),
        sa.CheckConstraint("status IN ('open', 'answered', 'resolved')", name="tickets_status"),
        sa.CheckConstraint("priority BETWEEN 1 AND 3", name="tickets_priority"),
    )
    op.create_index("tickets_user", "tickets", ["opened_by", "id"])
    op.create_index("tickets_queue", "tickets", ["status", "priority", "answer_due_us"])
    op.create_table(
        "answers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("ticket_id", sa.Text, sa.ForeignKey("tickets.id"), nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("ticket_id", "request_id", name="answers_request"),
    )


def create_copies() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, nullable=False),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, primary_key=True),
        sa.Column("is_member", sa.Boolean, nullable=False),
    )
    op.create_table(
        "happenings",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("minor_units", sa.BigInteger),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("happenings_account", "happenings", ["account_id", "at_us", "id"])
    op.create_table(
        "under_way",
        sa.Column("transfer_id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
    )
    op.create_index("under_way_account", "under_way", ["account_id"])


def downgrade() -> None:
    for table in ("under_way", "happenings", "memberships", "accounts", "answers", "tickets"):
        op.drop_table(table)
