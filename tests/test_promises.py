"""What docs/events.md says is shown by a test, is: the test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")
ROWS = [
    line
    for line in (ROOT / "docs/events.md").read_text().splitlines()
    if line.startswith("| ") and ".py" in line
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:60])
def test_a_test_that_is_named_is_there(row: str) -> None:
    for path, name in NAMED.findall(row):
        if not path.rpartition("/")[2].startswith("test_"):
            continue
        file = ROOT / path if "/" in path else ROOT / "mesh/events/tests" / path
        assert file.exists(), path
        assert not name or f"def {name}(" in file.read_text(), f"{path}::{name}"


def test_every_row_of_sqs_sns_and_lambda_names_a_test_or_says_why_not() -> None:
    text = (ROOT / "docs/events.md").read_text().partition("## SQS, SNS, Lambda")[2]
    table = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("| ")][2:]

    assert len(table) > 40
    unproven = [row for row in table if "test_" not in row and "| no: " not in row]
    assert unproven == []
