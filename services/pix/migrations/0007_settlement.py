"""The lines of the rail's settlement file, and how far the clearing account is copied."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    nothing = sa.text("0")
    op.add_column(
        "clearing", sa.Column("version", sa.BigInteger, nullable=False, server_default=nothing)
    )
    op.create_index("ix_clearing_version", "clearing", ["version"])
    op.create_table(
        "settlement_lines",
        sa.Column("end_to_end_id", sa.String(32), primary_key=True),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("settled_at_us", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "settlement_lines_settled", "settlement_lines", ["settled_at_us", "end_to_end_id"]
    )
    for table in ("payments", "deposits", "returns"):
        op.create_index(f"{table}_created", table, ["created_at_us"])
