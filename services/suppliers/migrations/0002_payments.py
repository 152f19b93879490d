"""What suppliers were paid, and what they are found by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    empty = sa.text("''")
    op.add_column("suppliers", sa.Column("sought", sa.Text, nullable=False, server_default=empty))
    # Accents are folded when a supplier is saved next.
    op.execute("UPDATE suppliers SET sought = LOWER(name || ' ' || document || ' ' || pix_key)")
    op.create_table(
        "payments",
        sa.Column("transfer_id", sa.Text, primary_key=True),
        sa.Column("supplier_id", sa.Text, nullable=False),
        sa.Column("payer_account_id", sa.Text, nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("returned", sa.BigInteger, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
    )
    op.create_index("payments_supplier", "payments", ["supplier_id", "transfer_id"])


def downgrade() -> None:
    op.drop_table("payments")
    op.drop_column("suppliers", "sought")
