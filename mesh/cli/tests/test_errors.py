"""Every failure is three lines and an exit code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.supervisor.project import Project

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("BANK_DATA", str(tmp_path / "data"))
    return Project(
        name="bank",
        version="1.2.3",
        root=ROOT,
        services=["transfers", "bff"],
        edge="bff",
        contracts=("bank",),
    )


def three_lines(text: str) -> tuple[str, str, str]:
    what, why, remedy = text.splitlines()
    assert what.startswith("error: ")
    assert why.startswith("  why: ")
    assert remedy.startswith("  try: ")
    return what, why, remedy


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["down"],
        ["check"],
        ["restart", "transfers"],
        ["scale", "transfers=2"],
        ["call", "GetAccount"],
        ["trace", "ls"],
    ],
    ids=" ".join,
)
def test_what_needs_the_bank_up_says_that_it_is_not(
    project: Project, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(project, arguments) == 3

    what, _, remedy = three_lines(capsys.readouterr().err)
    assert what == "error: the bank is not running"
    assert remedy == "  try: ./bank up"


def test_a_state_file_of_a_dead_supervisor_is_not_believed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(os.environ["BANK_DATA"])
    data.mkdir()
    (data / "state.json").write_text(json.dumps({"pid": 2**22 + 1}))

    assert run(project, ["status"]) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["status", "--output", "xml"],
        ["restart"],
        ["scale", "transfers=many"],
        ["up", "--scale", "loans=2"],
        ["up", "--scale", "transfers=17"],
        ["up", "--port-base", "60000"],
        ["call", "NoSuchMethod"],
        ["mesh", "certs", "issue", "Not A Name", "--out", "nowhere"],
    ],
    ids=" ".join,
)
def test_a_command_that_makes_no_sense_is_a_usage_error(
    project: Project, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run(project, arguments) == 2

    three_lines(capsys.readouterr().err)


def test_an_unknown_method_is_answered_with_those_that_are_like_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, ["call", "AccountsService/GetAcount"])

    assert "bank.accounts.v1.AccountsService/GetAccount" in capsys.readouterr().err


def test_only_a_supervisors_own_directory_is_emptied(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(os.environ["BANK_DATA"])
    data.mkdir()
    (data / "thesis.txt").write_text("ten years of work")

    assert run(project, ["up", "--fresh"]) == 2

    assert (data / "thesis.txt").exists()
    three_lines(capsys.readouterr().err)


def test_help_and_version_are_no_errors(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, ["--help"]) == 0
    assert run(project, ["version"]) == 0

    out = capsys.readouterr().out
    assert "Start everything and stay in the foreground" in out
    assert "bank 1.2.3" in out
