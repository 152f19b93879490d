from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mesh.cli.findings import Finding, Level, examined, tell
from mesh.cli.output import Output
from mesh.supervisor.problem import Problem


def broken() -> str:
    raise Problem("it is broken", "it fell", "mend it")


def some() -> Iterator[Finding]:
    yield Finding("clients", "all well")
    yield Finding("clients", "one is late", Level.WARNING, "wait")


def test_a_problem_is_an_error_with_a_hint_and_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    code = tell([("mesh", list(examined("control plane", broken)))], Output.TABLE)

    assert code == 1
    assert capsys.readouterr().out.splitlines() == [
        "mesh",
        "  \N{MULTIPLICATION SIGN} control plane  it is broken: it fell",
        "                   → mend it   docs/sight.md#control-plane",
        "1 error, 0 warnings",
    ]


def test_a_warning_fails_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code = tell([("mesh", list(examined("clients", some)))], Output.JSON)

    assert code == 0
    well, late = json.loads(capsys.readouterr().out)
    assert (well["ok"], well["level"], "hint" in well) == (True, "ok", False)
    assert (late["ok"], late["level"], late["hint"]) == (True, "warning", "wait")
