"""Lines that are written, and an output that nobody reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from observability import logs, tracing


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    yield descriptor
    logs.shutdown()
    os.close(descriptor)


def written(descriptor: int) -> str:
    assert logs.flush(10)
    return os.pread(descriptor, 1 << 20, 0).decode()


def lines(descriptor: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(descriptor).splitlines()]


def test_a_line_is_json_with_the_current_trace(target: int) -> None:
    logs.configure(service="transfers", instance="transfers-1", descriptor=target)
    tracing.configure(service="test", otlp_url=None)
    with tracing.span("work") as span:
        logs.get_logger("mesh.rpc").info("call %s", "done", extra={"rpc_method": "a/b", "n": 3})
    [line] = lines(target)
    context = span.get_span_context()
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "service": "transfers",
        "instance": "transfers-1",
        "logger": "mesh.rpc",
        "message": "call done",
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "rpc_method": "a/b",
        "n": 3,
    }


def test_emit_writes_the_same_line_without_the_standard_library(target: int) -> None:
    logs.configure(service="transfers", descriptor=target)
    logs.emit("info", "mesh.rpc", "call", {"status": "OK"})
    [line] = lines(target)
    assert (line["logger"], line["status"]) == ("mesh.rpc", "OK")
    assert "trace_id" not in line


def test_facts_do_not_displace_what_a_line_has(target: int) -> None:
    logs.configure(service="transfers", descriptor=target)
    logs.emit("info", "a", "b", {"level": "x", "service": "y"})
    [line] = lines(target)
    assert (line["level"], line["service"]) == ("info", "transfers")


def test_a_bug_is_logged_by_type_and_place_alone(target: int) -> None:
    logs.configure(service="transfers", descriptor=target)
    try:
        raise ValueError("Ana")
    except ValueError:
        logs.get_logger("x").exception("it broke")
    [line] = lines(target)
    assert line["error_type"] == "ValueError"
    assert line["stack"][0].endswith("test_a_bug_is_logged_by_type_and_place_alone")
    assert "Ana" not in json.dumps(line)


def test_personal_patterns_are_masked(target: int) -> None:
    logs.configure(service="transfers", descriptor=target)
    logs.emit("info", "x", "mail to ana@example.com", {"who": "123.456.789-09", "n": [1, 2]})
    text = written(target)
    assert "ana@example.com" not in text
    assert "***.***.***-09" in text


def test_what_json_does_not_have_is_named_by_its_type(target: int) -> None:
    logs.configure(service="transfers", descriptor=target)
    logs.emit("info", "x", "odd", {"o": ValueError("Ana"), "s": "\ud800", "big": 1 << 80})
    [line] = lines(target)
    assert line["o"] == "<ValueError>"
    assert line["big"] == str(1 << 80)


def test_the_console_is_for_people(target: int) -> None:
    logs.configure(service="transfers", format="console", descriptor=target)
    try:
        raise ValueError("CPF 123.456.789-09")
    except ValueError:
        logs.get_logger("mesh.rpc").exception("it broke", extra={"transfer_id": "t1"})
    first, second = written(target).splitlines()
    assert "ERROR   mesh.rpc: it broke transfer_id=t1 error_type=ValueError" in first
    assert "error=CPF ***.***.***-09" in first
    assert second.startswith("    ")


def test_an_output_that_nobody_reads_costs_lines_and_holds_nothing_up() -> None:
    reader, writer = os.pipe()
    try:
        logs.configure(service="transfers", descriptor=writer)
        for _ in range(20_000):
            logs.emit("info", "x", "y" * 100)
        assert logs.dropped() > 0
        logs.shutdown(0.1)
    finally:
        os.close(reader)
        os.close(writer)


def test_an_output_that_is_gone_is_survived(target: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.configure(service="transfers", descriptor=writer)
    logs.emit("info", "x", "y")
    assert logs.flush(10)
    assert logs.dropped() == 1
    logs.shutdown()
    os.close(writer)
