"""The chart of accounts, blocks and limits; a line of an account is sealed with those before it.

Accounts and postings are made anew, with their constraints, and filled from what there was: lines
in their order, so that each is sealed, and told the other side that its statement shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b, sha256
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

BATCH = 500
# What was earned cannot be less than nothing.
COPY = (
    "INSERT INTO accounts (id, company_id, currency, balance, held, version, status, opened_at_us,"
    " floor, kind, ceiling, blocked, block_reason, posted_at_us, seal)"
    " SELECT id, company_id, currency, balance, held, version, status, opened_at_us,"
    " CASE WHEN id = 'fees' AND balance >= 0 THEN 0 ELSE floor END,"
    " CASE id WHEN 'pix-clearing' THEN 'clearing' WHEN 'fees' THEN 'fees'"
    " WHEN 'treasury' THEN 'treasury' ELSE 'customer' END,"
    " 1000000000000000000, '', '', 0, :seal FROM old_accounts"
)
LINES = (
    "SELECT old.*, entries.transfer_id, entries.description, entries.counterparty AS called,"
    " entries.posted_at_us, (SELECT MIN(account_id) FROM old_postings AS other WHERE"
    " other.entry_id = old.entry_id AND other.account_id <> old.account_id) AS other"
    " FROM old_postings AS old JOIN entries ON entries.id = old.entry_id"
    " ORDER BY old.account_id, old.version"
)
SIDES = (
    "SELECT account_id, minor_units, currency FROM old_postings WHERE entry_id = :entry"
    " ORDER BY account_id, minor_units, currency"
)


def upgrade() -> None:
    for table in ("entries", "postings"):
        unprotect(table)
    accounts()
    postings()
    for table in ("entries", "postings"):
        protect(table)


def accounts() -> None:
    op.execute("CREATE TABLE old_accounts AS SELECT * FROM accounts")
    op.drop_table("accounts")
    op.create_table(
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
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("ceiling", sa.BigInteger, nullable=False),
        sa.Column("blocked", sa.String(14), nullable=False),
        sa.Column("block_reason", sa.String(140), nullable=False),
        sa.Column("posted_at_us", sa.BigInteger, nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("company_id", name="accounts_company"),
        sa.CheckConstraint("balance - held >= floor", name="accounts_floor"),
        sa.CheckConstraint("balance <= ceiling", name="accounts_ceiling"),
        sa.CheckConstraint("held >= 0", name="accounts_held"),
        sa.CheckConstraint("held = 0 OR kind = 'customer'", name="accounts_holds"),
        sa.CheckConstraint("status IN ('open', 'closed')", name="accounts_status"),
        sa.CheckConstraint("status = 'open' OR kind = 'customer'", name="accounts_ends"),
        sa.CheckConstraint(
            "kind IN ('customer', 'clearing', 'fees', 'treasury')", name="accounts_kind"
        ),
        sa.CheckConstraint("(kind = 'customer') = (company_id IS NOT NULL)", name="accounts_owner"),
    )
    unsealed = sa.bindparam("seal", bytes(32), type_=sa.LargeBinary)
    op.get_bind().execute(sa.text(COPY).bindparams(unsealed))
    op.drop_table("old_accounts")


def postings() -> None:
    op.execute("CREATE TABLE old_postings AS SELECT * FROM postings")
    op.execute("CREATE INDEX old_postings_entry ON old_postings (entry_id)")
    op.drop_table("postings")
    table = op.create_table(
        "postings",
        sa.Column("account_id", sa.String(36), primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("entry_id", sa.String(36), nullable=False),
        sa.Column("minor_units", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("balance_after", sa.BigInteger, nullable=False),
        sa.Column("counterparty", sa.String(140), nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("minor_units <> 0", name="postings_amount"),
    )
    op.create_index("postings_entry", "postings", ["entry_id"])
    batch: list[dict[str, Any]] = []
    for line in sealed_lines():
        batch.append(line)
        if len(batch) == BATCH:
            op.bulk_insert(table, batch)
            batch = []
    if batch:
        op.bulk_insert(table, batch)
    fingerprints()
    op.drop_table("old_postings")


def sealed_lines() -> Iterator[dict[str, Any]]:
    """Gives every line with its seal, and each account that of its last line."""
    bind = op.get_bind()
    account, seal, last_us = "", bytes(32), 0
    for row in bind.execute(sa.text(LINES)).mappings().all():
        if row["account_id"] != account:
            keep_seal(account, seal, last_us)
            account, seal, last_us = row["account_id"], bytes(32), 0
        other = row["called"] or row["other"] or account
        named = ("version", "entry_id", "transfer_id", "minor_units", "currency", "balance_after")
        fixed = (account, *(row[name] for name in named), row["posted_at_us"], len(other))
        said = "\n".join((*map(str, fixed), other + row["description"]))
        seal = sha256(seal + said.encode()).digest()
        last_us = max(last_us, row["posted_at_us"])
        kept = ("account_id", "version", "entry_id", "minor_units", "currency", "balance_after")
        yield {name: row[name] for name in kept} | {"counterparty": other, "seal": seal}
    keep_seal(account, seal, last_us)


def keep_seal(account: str, seal: bytes, last_us: int) -> None:
    op.get_bind().execute(
        sa.text("UPDATE accounts SET seal = :seal, posted_at_us = :last_us WHERE id = :account"),
        {"seal": seal, "last_us": last_us, "account": account},
    )


def fingerprints() -> None:
    """Writes the fingerprints of posted entries in a form that no release of Python changes."""
    bind = op.get_bind()
    entries = sa.text("SELECT * FROM entries WHERE refused = ''")
    change = sa.text("UPDATE entries SET fingerprint = :fingerprint WHERE id = :id")
    for row in bind.execute(entries).mappings().all():
        found = bind.execute(sa.text(SIDES), {"entry": row["id"]}).all()
        said: tuple[Any, ...] = ([tuple(side) for side in found], row["transfer_id"])
        said += (row["description"], row["counterparty"])
        said += (row["reverses"],) if row["reverses"] else ()
        digest = blake2b(ascii(said).encode(), digest_size=16).hexdigest()
        bind.execute(change, {"fingerprint": digest, "id": row["id"]})


def unprotect(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    else:
        for action in ("update", "delete"):
            op.execute(f"DROP TRIGGER {table}_{action}")


def protect(table: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_{action.lower()} BEFORE {action} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table}_append_only'); END"
        )
