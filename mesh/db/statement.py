"""SQL with named parameters, compiled once for each database.

One text serves both: it is written in the SQL that SQLite and PostgreSQL share, with `:name` for a
parameter. `FOR UPDATE` locks rows on PostgreSQL, and is dropped on SQLite, where there is only one
writer. Where PostgreSQL cannot tell the type of a parameter, say it: `CAST(:after AS bigint)`.
A boolean comes back from SQLite as 0 or 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

__all__ = ["Statement", "sql"]

# What is quoted or commented out is left alone, and `::` is a cast.
_TOKEN = re.compile(
    r"""
      '(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/
    | ::
    | (?<![\w:]) : (?P<name>[A-Za-z_]\w*)
    | (?P<lock> \s* \b FOR \s+ (?:NO\s+KEY\s+)? (?:UPDATE|SHARE) \b
                (?: \s+ (?:SKIP\s+LOCKED|NOWAIT) \b )? )
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_TARGET = re.compile(
    r"\b(?:(INSERT) (?:OR \w+ )?INTO|(UPDATE)|(DELETE) FROM"
    r"|(SELECT) (?:(?!DELETE ).)*?\bFROM) (\w+)",
    re.IGNORECASE,
)
_QUIET = re.compile(r"\s*(?:SELECT|VALUES|EXPLAIN)\b", re.IGNORECASE)


class Statement:
    """A statement and its parameters. Made by `sql`."""

    __slots__ = ("_pick", "names", "postgresql", "sqlite", "summary", "text", "writes")

    def __init__(self, text: str) -> None:
        names: dict[str, int] = {}

        def compile_for(placeholder: str, keeps_locks: bool) -> str:
            def replace(token: re.Match[str]) -> str:
                if name := token["name"]:
                    return f"{placeholder}{names.setdefault(name, len(names) + 1)}"
                return "" if token["lock"] and not keeps_locks else token[0]

            return _TOKEN.sub(replace, text)

        self.text = text
        self.sqlite = compile_for("?", keeps_locks=False)
        self.postgresql = compile_for("$", keeps_locks=True)
        self.names = tuple(names)
        self.writes = _QUIET.match(text) is None
        self.summary = _summary(text)
        self._pick = _picker(self.names)

    def bind(self, parameters: Mapping[str, object], /) -> tuple[Any, ...]:
        """Puts the parameters in the order of the placeholders.

        Raises `TypeError` unless they are exactly the ones that the statement names.
        """
        if len(parameters) == len(self.names):
            try:
                return self._pick(parameters)
            except KeyError:
                pass
        raise TypeError(f"{self.summary} takes {self.names}, and was given {tuple(parameters)}")

    def __repr__(self) -> str:
        return f"sql({self.text!r})"


def sql(text: str) -> Statement:
    """Compiles a statement. Do it once, in a constant of the module."""
    return Statement(text)


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, object]], tuple[Any, ...]]:
    if not names:
        return lambda parameters: ()
    pick = itemgetter(*names)
    return pick if len(names) > 1 else lambda parameters: (pick(parameters),)


def _summary(text: str) -> str:
    """The operation and its table, such as `UPDATE accounts`: `db.query.summary` of the semconv."""
    words = " ".join(text.split())
    found = _TARGET.search(words)
    if found is None:
        return words.split(" ", 1)[0].upper()
    return f"{next(word for word in found.groups() if word).upper()} {found[5]}"
