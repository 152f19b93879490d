from __future__ import annotations

import sqlite3

import pytest

from mesh.db import sql


def test_a_parameter_has_a_place_on_each_database() -> None:
    statement = sql("SELECT a FROM t WHERE a = :first AND b = :second")
    assert statement.sqlite == "SELECT a FROM t WHERE a = ?1 AND b = ?2"
    assert statement.postgresql == "SELECT a FROM t WHERE a = $1 AND b = $2"
    assert statement.bind({"second": 2, "first": 1}) == (1, 2)


def test_a_parameter_that_is_named_twice_is_given_once() -> None:
    statement = sql("SELECT :a + :b + :a AS sum")
    assert statement.bind({"a": 1, "b": 2}) == (1, 2)
    row = sqlite3.connect(":memory:").execute(statement.sqlite, (1, 2)).fetchone()
    assert row == (4,)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT x::bigint",
        "SELECT 'it''s :not a parameter'",
        'SELECT ":neither" FROM t',
        "SELECT 1 -- nor :this",
        "SELECT 1 /* nor\n :that */",
        "SELECT a[1:n]",
    ],
)
def test_what_only_looks_like_a_parameter_is_left_alone(text: str) -> None:
    assert sql(text).names == ()
    assert sql(text).postgresql == text


def test_a_parameter_can_be_cast() -> None:
    assert sql("SELECT :after::bigint").postgresql == "SELECT $1::bigint"


@pytest.mark.parametrize(
    "lock", ["FOR UPDATE", "for update", "FOR NO KEY UPDATE", "FOR SHARE", "FOR UPDATE SKIP LOCKED"]
)
def test_row_locks_are_for_postgresql(lock: str) -> None:
    statement = sql(f"SELECT a FROM t WHERE a = :a {lock}")
    assert statement.sqlite == "SELECT a FROM t WHERE a = ?1"
    assert statement.postgresql == f"SELECT a FROM t WHERE a = $1 {lock}"


def test_a_lock_in_quotes_is_a_text() -> None:
    assert sql("SELECT 'FOR UPDATE'").sqlite == "SELECT 'FOR UPDATE'"


@pytest.mark.parametrize("given", [{}, {"b": 1}, {"a": 1, "b": 2}])
def test_exactly_the_named_parameters_are_taken(given: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="SELECT t takes"):
        sql("SELECT x FROM t WHERE a = :a").bind(given)


@pytest.mark.parametrize(
    ("text", "summary", "writes"),
    [
        ("SELECT a FROM accounts WHERE b", "SELECT accounts", False),
        ("  select a\n  from accounts", "SELECT accounts", False),
        ("INSERT INTO entries (a) VALUES (1)", "INSERT entries", True),
        ("UPDATE accounts SET a = 1", "UPDATE accounts", True),
        ("DELETE FROM holds", "DELETE holds", True),
        ("WITH old AS (SELECT 1) DELETE FROM holds", "DELETE holds", True),
        ("CREATE TABLE x (a int)", "CREATE", True),
    ],
)
def test_a_statement_knows_what_it_does(text: str, summary: str, writes: bool) -> None:
    assert (sql(text).summary, sql(text).writes) == (summary, writes)
