"""How commands speak: tables or JSON on standard output, progress and errors on standard error."""

from __future__ import annotations

import enum
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

__all__ = ["Output", "has_colour", "print_json", "print_table", "progress"]


class Output(enum.StrEnum):
    """The forms that a command can answer in."""

    TABLE = "table"
    JSON = "json"


def has_colour(stream: TextIO) -> bool:
    """Whether to colour what is written there (no-color.org)."""
    return not os.environ.get("NO_COLOR") and stream.isatty()


def print_json(value: object) -> None:
    """Prints a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints rows under their columns; nothing is cut."""
    cells = [[str(cell) if cell is not None else "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        line = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def progress(text: str) -> None:
    """Says what is going on, where it does not disturb what is read."""
    print(text, file=sys.stderr, flush=True)
