"""Lines, who may read them, and what page tokens are sealed with."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lines",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry_id", sa.Text, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("balance_after", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("counterparty", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("occurred_at_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, nullable=False),
    )
    op.create_table(
        "readers",
        sa.Column("company_id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("may_read", sa.Boolean, nullable=False),
    )
    page_secrets = op.create_table(
        "page_secrets",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("secret", sa.Text, nullable=False),
    )
    # Made here, so that all processes of the service have the same one.
    op.bulk_insert(page_secrets, [{"number": 1, "secret": secrets.token_hex(32)}])


def downgrade() -> None:
    for table in ("page_secrets", "readers", "accounts", "lines"):
        op.drop_table(table)
