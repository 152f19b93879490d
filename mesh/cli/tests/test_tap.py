from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.cli.main import run
from mesh.cli.tap import Filter
from mesh.supervisor.project import Project

CALL = {"from": "bff", "method": "bank.pix.v1.PixService/SendPayment", "status": "NOT_FOUND"}


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Filter(), True),
        (Filter(method="Send"), True),
        (Filter(method="*Payment"), True),
        (Filter(method="Get*"), False),
        (Filter(status="!OK"), True),
        (Filter(status="not_found"), True),
        (Filter(status="!NOT_FOUND"), False),
        (Filter(status="OK"), False),
        (Filter(caller="bff"), True),
        (Filter(caller="pix"), False),
    ],
)
def test_calls_are_chosen_by_method_status_and_caller(wanted: Filter, takes: bool) -> None:
    assert wanted.takes(CALL) is takes


def test_only_calls_from_now_on_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = a_bank_that_is_up(tmp_path, monkeypatch)
    log = tmp_path / "logs" / "pix-1.log"
    write(log, "old")
    write_while_it_waits(monkeypatch, lambda: write(log, "new"))

    assert run(project, ["tap", "--limit", "1", "--output", "json"]) == 0

    (call,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert call == {
        "time": "2026-11-25T12:00:00Z",
        "from": "bff",
        "to": "pix",
        "instance": "pix-1",
        "method": "bank.pix.v1.PixService/SendPayment",
        "status": "OK",
        "reason": "",
        "ms": 1.5,
        "trace": "new",
    }


def test_calls_of_an_instance_that_comes_later_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = a_bank_that_is_up(tmp_path, monkeypatch)
    write(tmp_path / "logs" / "pix-1.log", "old")
    write_while_it_waits(monkeypatch, lambda: write(tmp_path / "logs" / "pix-2.log", "new"))

    assert run(project, ["tap", "pix", "--limit", "1"]) == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert "bff → pix" in line
    assert line.endswith("1.5ms  new")


def test_a_service_that_there_is_not_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(a_bank_that_is_up(tmp_path, monkeypatch), ["tap", "loans"]) == 2

    assert "there is no service loans" in capsys.readouterr().err


def a_bank_that_is_up(data: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("BANK_DATA", str(data))
    (data / "logs").mkdir()
    names = ("rest", "dashboard", "traces", "otlp", "nats", "xds")
    state = {"pid": os.getpid(), "endpoints": dict.fromkeys(names, ""), "identity": ""}
    (data / "state.json").write_text(json.dumps(state))
    return Project(name="bank", version="1", root=data, services=["pix"], edge="bff")


def write(log: Path, trace_id: str) -> None:
    line = {
        "time": "2026-11-25T12:00:00Z",
        "service": "pix",
        "instance": "pix-1",
        "logger": "mesh.rpc",
        "message": "call",
        "trace_id": trace_id,
        "rpc.method": "bank.pix.v1.PixService/SendPayment",
        "rpc.status_code": "OK",
        "duration_ms": 1.5,
        "caller": "bff",
    }
    with log.open("a") as file:
        # As the processes write: without spaces.
        print(json.dumps(line, separators=(",", ":")), file=file)
        print("not a call", file=file)


def write_while_it_waits(monkeypatch: pytest.MonkeyPatch, write: Callable[[], None]) -> None:
    monkeypatch.setattr("mesh.cli.tap.time.sleep", lambda _: write())
