from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.supervisor.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("BANK_DATA", str(tmp_path))
    logs = tmp_path / "logs"
    logs.mkdir()
    write(logs / "bff-1.log", "12:00:01", "asked", "aaaa")
    write(logs / "transfers-1.log", "12:00:02", "created", "aaaa")
    write(logs / "transfers-1.log", "12:00:04", "idle", "bbbb")
    write(logs / "transfers-2.log", "12:00:03", "completed", "aaaa")
    return Project(name="bank", version="1", root=tmp_path, services=["bff"], edge="bff")


def write(log: Path, time: str, message: str, trace_id: str) -> None:
    line = {"time": f"2026-11-25T{time}Z", "message": message, "trace_id": trace_id}
    with log.open("a") as file:
        print(json.dumps(line), file=file)


def messages(text: str) -> list[str]:
    return [json.loads(line)["message"] for line in text.splitlines()]


def test_logs_are_one_stream_in_order_of_time(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, ["logs", "--output", "json"]) == 0

    assert messages(capsys.readouterr().out) == ["asked", "created", "completed", "idle"]


def test_logs_of_a_service_are_those_of_all_its_instances(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, ["logs", "transfers", "--output", "json"])

    assert messages(capsys.readouterr().out) == ["created", "completed", "idle"]


def test_logs_of_a_trace_are_those_that_name_it(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    run(project, ["logs", "--trace", "aaaa", "--output", "json"])

    assert messages(capsys.readouterr().out) == ["asked", "created", "completed"]


def test_logs_of_nobody_are_a_usage_error(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, ["logs", "loans"]) == 2

    assert "bff, transfers" in capsys.readouterr().err
