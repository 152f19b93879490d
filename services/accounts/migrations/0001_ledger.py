"""The ledger: accounts, entries, postings, holds, and the bank's own accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

APPEND_ONLY = ("entries", "postings")
# They take the other side of what customers do: they may owe as much as a balance can say.
OWN_ACCOUNTS = ("pix-clearing", "treasury", "fees")
OWN_FLOOR = -(10**18)


def upgrade() -> None:
    accounts()
    entries()
    holds()
    if op.get_bind().dialect.name == "postgresql":
        protect_on_postgresql()
    else:
        protect_on_sqlite()


def accounts() -> None:
    table = op.create_table(
        "accounts",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("company_id", sa.String(36)),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("floor", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(6), nullable=False),
        sa.Column("opened_at_us", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("company_id", name="accounts_company"),
        sa.CheckConstraint("balance - held >= floor", name="accounts_floor"),
        sa.CheckConstraint("held >= 0", name="accounts_held"),
        sa.CheckConstraint("status IN ('open', 'closed')", name="accounts_status"),
    )
    zero = {"currency": "BRL", "balance": 0, "held": 0, "version": 0, "opened_at_us": 0}
    op.bulk_insert(
        table,
        [{**zero, "id": id, "floor": OWN_FLOOR, "status": "open"} for id in OWN_ACCOUNTS],
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(36), primary_key=True),
        sa.Column("company_id", sa.String(36), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
    )


def entries() -> None:
    op.create_table(
        "entries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("transfer_id", sa.String(36), nullable=False),
        sa.Column("description", sa.String(140), nullable=False),
        sa.Column("counterparty", sa.String(140), nullable=False),
        sa.Column("fingerprint", sa.String(32), nullable=False),
        sa.Column("refused", sa.String(32), nullable=False),
        sa.Column("posted_at_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "postings",
        sa.Column("account_id", sa.String(36), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("balance_after", sa.BigInteger, nullable=False),
        sa.CheckConstraint("minor_units <> 0", name="postings_amount"),
    )
    op.create_index("postings_entry", "postings", ["entry_id"])


def holds() -> None:
    op.create_table(
        "holds",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.CheckConstraint("status IN ('open', 'posted', 'released')", name="holds_status"),
        sa.CheckConstraint("minor_units > 0 OR status = 'released'", name="holds_amount"),
    )
    op.create_index("holds_account", "holds", ["account_id"])


def protect_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_{action.lower()} BEFORE {action} ON {table}"
                f" BEGIN SELECT RAISE(ABORT, '{table}_append_only'); END"
            )


def protect_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '%_append_only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
