"""Suppliers, what they have been, and the copy of memberships."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "suppliers",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("pix_key", sa.Text, nullable=False),
        sa.Column("favourite", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("created_by", "request_id", name="suppliers_request"),
        sa.CheckConstraint("status IN ('active', 'removed')", name="suppliers_status"),
    )
    op.create_index("suppliers_company", "suppliers", ["company_id", "id"])
    is_active = sa.text("status = 'active'")
    op.create_index(
        "suppliers_document",
        "suppliers",
        ["company_id", "document"],
        unique=True,
        sqlite_where=is_active,
        postgresql_where=is_active,
    )
    op.create_table(
        "savings",
        sa.Column("supplier_id", sa.Text, sa.ForeignKey("suppliers.id"), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("saved_by", sa.Text, nullable=False),
        sa.Column("saved_at_us", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("pix_key", sa.Text, nullable=False),
        sa.Column("favourite", sa.Boolean, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, primary_key=True),
        sa.Column("may_change", sa.Boolean),
    )


def downgrade() -> None:
    for table in ("memberships", "savings", "suppliers"):
        op.drop_table(table)
