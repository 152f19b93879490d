"""Limits, fees and approvals; refunds; transfers that repeat, and those that come in a file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Written out, for neither database adds a constraint as the other does: both take it with a column.
COLUMNS = (
    "fee BIGINT DEFAULT '0' NOT NULL CONSTRAINT transfers_fee CHECK (fee >= 0)",
    "refunding BIGINT DEFAULT '0' NOT NULL"
    " CONSTRAINT transfers_refunds CHECK (refunding BETWEEN 0 AND minor_units)",
    "returned BIGINT DEFAULT '0' NOT NULL"
    " CONSTRAINT transfers_returned CHECK (returned BETWEEN 0 AND minor_units)",
    "decided_by VARCHAR(36) DEFAULT '' NOT NULL"
    " CONSTRAINT transfers_four_eyes CHECK (decided_by <> requested_by)",
    "approval_expires_us BIGINT",
    "counted_at_us BIGINT",
    "refund_of VARCHAR(36) DEFAULT '' NOT NULL",
    "recurring_id VARCHAR(36) DEFAULT '' NOT NULL",
    "batch_id VARCHAR(36) DEFAULT '' NOT NULL",
    "version BIGINT DEFAULT '1' NOT NULL",
)

# What holds for everybody who has set nothing else, in centavos. The night's is Brazil's rule.
DEFAULTS = {
    "per_transfer": 1_000_000_00,
    "per_day": 5_000_000_00,
    "pix_at_night": 1_000_00,
    "without_approval": 10**15,
    "without_step_up": 50_000_00,
}


def upgrade() -> None:
    for column in COLUMNS:
        op.execute(f"ALTER TABLE transfers ADD COLUMN {column}")
    op.add_column(
        "memberships", sa.Column("role", sa.String(16), nullable=False, server_default="")
    )
    terms = op.create_table(
        "terms",
        sa.Column("subject_id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("basis_points", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_minor_units", sa.BigInteger),
        sa.Column("next_from_us", sa.BigInteger),
        sa.CheckConstraint("minor_units >= 0", name="terms_amount"),
        sa.CheckConstraint(
            "(next_minor_units IS NULL) = (next_from_us IS NULL)", name="terms_change"
        ),
    )
    op.bulk_insert(
        terms,
        [
            {"subject_id": "", "kind": kind, "minor_units": most, "basis_points": 0}
            for kind, most in DEFAULTS.items()
        ],
    )
    op.create_table(
        "usage",
        sa.Column("company_id", sa.String(36), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.CheckConstraint("used BETWEEN 0 AND allowed", name="usage_allowed"),
    )
    create_recurring()
    create_batches()


def create_recurring() -> None:
    op.create_table(
        "recurring",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("company_id", sa.String(36), nullable=False),
        sa.Column("payer_account_id", sa.String(36), nullable=False),
        sa.Column("payee_account_id", sa.String(36), nullable=False),
        sa.Column("pix_key", sa.String(77), nullable=False),
        sa.Column("supplier_id", sa.String(36), nullable=False),
        sa.Column("payee_name", sa.String(140), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("frequency", sa.String(8), nullable=False),
        sa.Column("month_end", sa.String(8), nullable=False),
        sa.Column("starts_at_us", sa.BigInteger, nullable=False),
        sa.Column("ends_at_us", sa.BigInteger),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("next_at_us", sa.BigInteger),
        sa.Column("occurred", sa.Integer, nullable=False),
        sa.UniqueConstraint("requested_by", "request_id", name="recurring_request"),
        sa.CheckConstraint("minor_units > 0", name="recurring_amount"),
        sa.CheckConstraint("status IN ('active', 'ended', 'cancelled')", name="recurring_status"),
    )
    op.create_index("recurring_company", "recurring", ["company_id", "id"])


def create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("requested_by", sa.String(36), nullable=False),
        sa.Column("request_id", sa.String(255), nullable=False),
        sa.Column("company_id", sa.String(36), nullable=False),
        sa.Column("payer_account_id", sa.String(36), nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("lines", sa.Integer, nullable=False),
        sa.UniqueConstraint("requested_by", "request_id", name="batches_request"),
    )
    op.create_index("batches_company", "batches", ["company_id", "id"])
    op.create_table(
        "batch_lines",
        sa.Column("batch_id", sa.String(36), primary_key=True),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("payee_account_id", sa.String(36), nullable=False),
        sa.Column("pix_key", sa.String(77), nullable=False),
        sa.Column("supplier_id", sa.String(36), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.String(255), nullable=False),
        sa.Column("transfer_id", sa.String(36), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'accepted', 'refused')", name="batch_lines_status"
        ),
    )
