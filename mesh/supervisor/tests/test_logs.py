from __future__ import annotations

import io
import json
from pathlib import Path

from mesh.supervisor.logs import LogFollower, readable, trim


def test_a_json_line_is_told_as_a_person_reads_it() -> None:
    record = {
        "time": "2026-11-25T12:34:56.789Z",
        "level": "info",
        "message": "transfer completed",
        "transfer_id": "t-1",
        "trace_id": "abc",
    }

    line = readable("transfers-1", json.dumps(record), colour=False)

    assert line == (
        "transfers-1      | 12:34:56 INFO    transfer completed transfer_id=t-1 trace_id=abc"
    )


def test_a_line_that_is_not_json_stays_as_it_is() -> None:
    assert readable("nats-1", "[1] ready", colour=False).endswith("| [1] ready")
    assert readable("nats-1", "42", colour=False).endswith("| 42")


def test_only_whole_lines_are_printed_and_only_once(tmp_path: Path) -> None:
    log, out = tmp_path / "pix-1.log", io.StringIO()
    follower = LogFollower(out, colour=False)
    follower.follow(log)

    log.write_text("first\nsec")
    follower.print_new()
    log.write_text("first\nsecond\n")
    follower.print_new()

    assert [line.split("| ")[1] for line in out.getvalue().splitlines()] == ["first", "second"]


def test_a_log_that_was_emptied_is_read_from_its_start(tmp_path: Path) -> None:
    log, out = tmp_path / "pix-1.log", io.StringIO()
    follower = LogFollower(out, colour=False)
    follower.follow(log)
    with log.open("a") as writer:
        print("a long first line", file=writer, flush=True)
        follower.print_new()

        trim(log)
        print("next", file=writer, flush=True)
        follower.print_new()

    assert out.getvalue().endswith("| next\n")
