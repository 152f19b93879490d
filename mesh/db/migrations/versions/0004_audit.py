"""The audit: rows are added, sealed once, and never changed or removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

TEXTS = (
    "actor_id",
    "session_id",
    "workload",
    "method",
    "subject_id",
    "company_id",
    "outcome",
    "reason",
    "trace_id",
)
CONTENT = ("id", "at_us", *TEXTS, "digest")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in TEXTS),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("number", sa.BigInteger),
        sa.Column("previous", sa.LargeBinary),
        sa.Column("seal", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    waiting = sa.text("number IS NULL")
    op.create_index(
        "audit_waiting", "audit", ["id"], sqlite_where=waiting, postgresql_where=waiting
    )
    op.create_index("audit_number", "audit", ["number"], unique=True)
    if op.get_bind().dialect.name == "sqlite":
        _protect_on_sqlite()
    else:
        _protect_on_postgresql()


def _protect_on_sqlite() -> None:
    for name, action in (
        ("delete", "DELETE ON audit"),
        ("change", f"UPDATE OF {', '.join(CONTENT)} ON audit"),
        ("reseal", "UPDATE OF number, previous, seal ON audit WHEN OLD.number IS NOT NULL"),
    ):
        op.execute(
            f"CREATE TRIGGER audit_{name} BEFORE {action}"
            " BEGIN SELECT RAISE(ABORT, 'audit_append_only'); END"
        )


def _protect_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'audit_append_only'; END $$"
    )
    for name, action in (
        ("remove", "DELETE OR TRUNCATE ON audit FOR EACH STATEMENT"),
        ("change", f"UPDATE OF {', '.join(CONTENT)} ON audit FOR EACH STATEMENT"),
        (
            "reseal",
            "UPDATE OF number, previous, seal ON audit FOR EACH ROW WHEN (OLD.number IS NOT NULL)",
        ),
    ):
        op.execute(
            f"CREATE TRIGGER audit_{name} BEFORE {action} EXECUTE FUNCTION audit_append_only()"
        )
