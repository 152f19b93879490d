"""A copy of the ledger's clearing account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    clearing()


def clearing() -> None:
    op.create_table(
        "clearing",
        sa.Column("entry_id", sa.String(36), primary_key=True),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("occurred_at_us", sa.BigInteger, nullable=False),
    )
