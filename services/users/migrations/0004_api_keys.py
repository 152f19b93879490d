"""The API keys of companies."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("company_id", sa.Text, sa.ForeignKey("companies.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("per_second", sa.Integer, nullable=False),
        sa.Column("burst", sa.Integer, nullable=False),
        sa.Column("daily_quota", sa.BigInteger, nullable=False),
        sa.Column("monthly_quota", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("last_used_us", sa.BigInteger),
        sa.Column("revoked_at_us", sa.BigInteger),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("used_today", sa.BigInteger, nullable=False),
        sa.Column("month", sa.Integer, nullable=False),
        sa.Column("used_this_month", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("digest", name="api_keys_digest"),
    )
    op.create_index("api_keys_company", "api_keys", ["company_id"])


def downgrade() -> None:
    op.drop_table("api_keys")
