"""Accounts that may not be overdrawn, and movements that may not be changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("tag", sa.Text, unique=True),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.CheckConstraint("balance >= 0", name="accounts_not_overdrawn"),
        sa.UniqueConstraint("owner", name="accounts_one_for_each_owner"),
    )
    op.create_table(
        "movements",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
    )
    op.create_index("movements_once", "movements", ["account_id", "amount"], unique=True)
    op.create_table(
        "promises",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "account_id",
            sa.Text,
            sa.ForeignKey("accounts.id", deferrable=True, initially="DEFERRED"),
        ),
    )
    for statement in _append_only(op.get_bind().dialect.name):
        op.execute(statement)


def _append_only(dialect: str) -> list[str]:
    message = "movements are append-only"
    if dialect == "sqlite":
        return [
            f"CREATE TRIGGER movements_kept BEFORE DELETE ON movements "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        ]
    return [
        f"CREATE FUNCTION keep_movements() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$",
        "CREATE TRIGGER movements_kept BEFORE DELETE ON movements "
        "FOR EACH ROW EXECUTE FUNCTION keep_movements()",
    ]
