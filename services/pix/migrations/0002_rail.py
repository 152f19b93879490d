"""The rail keeps its own books; what is given back of payments and deposits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    payments()
    returns()
    rail_messages()
    rail_lost()
    rail_behaviour()
    rail_entries()


def payments() -> None:
    empty, nothing = sa.text("''"), sa.text("0")
    with op.batch_alter_table("payments") as table:
        table.add_column(
            sa.Column("payer_account_id", sa.String(36), nullable=False, server_default=empty)
        )
        table.add_column(sa.Column("txid", sa.String(35), nullable=False, server_default=empty))
        table.add_column(
            sa.Column("returned", sa.BigInteger, nullable=False, server_default=nothing)
        )
        table.create_check_constraint("payments_returned", "returned BETWEEN 0 AND minor_units")
    with op.batch_alter_table("deposits") as table:
        table.add_column(sa.Column("txid", sa.String(35), nullable=False, server_default=empty))
        table.add_column(
            sa.Column("returned", sa.BigInteger, nullable=False, server_default=nothing)
        )
        table.create_check_constraint("deposits_returned", "returned BETWEEN 0 AND minor_units")
        table.create_unique_constraint("deposits_end_to_end", ["end_to_end_id"])
    op.create_index("deposits_account", "deposits", ["account_id", "id"])


def returns() -> None:
    op.create_table(
        "returns",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("direction", sa.String(3), nullable=False),
        sa.Column("original_id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255)),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("reason", sa.String(4), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("end_to_end_id", sa.String(32), nullable=False),
        sa.Column("return_end_to_end_id", sa.String(32), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("failure_reason", sa.String(64), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.CheckConstraint("minor_units > 0", name="returns_amount"),
        sa.CheckConstraint("direction IN ('in', 'out')", name="returns_direction"),
        sa.CheckConstraint("status IN ('pending', 'settled', 'failed')", name="returns_status"),
        sa.UniqueConstraint("return_end_to_end_id", name="returns_end_to_end"),
        sa.UniqueConstraint("requested_by", "request_id", name="returns_request"),
    )
    op.create_index("returns_original", "returns", ["original_id", "id"])


def rail_messages() -> None:
    op.create_table(
        "rail_messages",
        sa.Column("end_to_end_id", sa.String(32), primary_key=True),
        sa.Column("kind", sa.String(7), nullable=False),
        sa.Column("original", sa.String(32), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("code", sa.String(35), nullable=False),
        sa.Column("decided_at_us", sa.BigInteger, nullable=False),
        sa.Column("play", sa.String(60), nullable=False),
    )
    op.create_index("rail_messages_decided", "rail_messages", ["outcome", "decided_at_us"])


def rail_lost() -> None:
    op.create_table(
        "rail_lost",
        sa.Column("end_to_end_id", sa.String(32), primary_key=True),
    )


def rail_behaviour() -> None:
    op.create_table(
        "rail_behaviour",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rejected", sa.Integer, nullable=False),
        sa.Column("lost_settled", sa.Integer, nullable=False),
        sa.Column("lost_rejected", sa.Integer, nullable=False),
        sa.Column("lost_message", sa.Integer, nullable=False),
        sa.Column("rejection_code", sa.String(4), nullable=False),
        sa.Column("delay_ms", sa.Integer, nullable=False),
    )


def rail_entries() -> None:
    op.create_table(
        "rail_entries",
        sa.Column("pix_key", sa.String(77), primary_key=True),
        sa.Column("document", sa.String(14), nullable=False),
        sa.Column("name", sa.String(140), nullable=False),
    )
