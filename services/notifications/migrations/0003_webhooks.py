"""Whose account is whose, and who may do what for a company: for webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_companies",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, nullable=False),
    )
    op.create_table(
        "members",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("members", "account_companies"):
        op.drop_table(table)
