"""The children's logs: followed in their files, told apart by colour, JSON made readable.

Children write to their files themselves. A supervisor that is slow, or dead, holds nobody up, and
a crashed process's last words are on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

__all__ = ["LogFollower", "readable", "trim"]

POLL_S = 0.1
WATCH_S = 5.0
MAX_LOG_BYTES = 64 * 2**20
MAX_READ_BYTES = 2**20

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
LEVELS = {"WARNING": 33, "ERROR": 31, "CRITICAL": 31}
SHOWN_APART = frozenset({"time", "level", "message", "service", "logger"})
HIDDEN = SHOWN_APART | {"span_id", "instance", "instance_id", "version", "exception", "stack"}


class LogFollower:
    """Prints what is added to log files, each line behind the name of who said it.

    Without an output it only keeps the files from growing without end.
    """

    def __init__(self, out: TextIO | None, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._offsets: dict[Path, int] = {}
        self._silent: set[Path] = set()
        self._task: asyncio.Task[None] | None = None

    def follow(self, log: Path, *, shown: bool = True) -> None:
        """Begins to watch a file, and to print what is added to it from now on."""
        self._offsets.setdefault(log, log.stat().st_size if log.exists() else 0)
        if not shown:
            self._silent.add(log)

    def start(self) -> None:
        """Starts to print."""
        self._task = asyncio.create_task(self._run(), name="log follower")

    async def stop(self) -> None:
        """Prints the rest and stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.print_new()

    def print_new(self) -> None:
        """Prints the whole lines that were added since the last time."""
        for log in list(self._offsets):
            with contextlib.suppress(OSError):
                if self._out is not None and log not in self._silent:
                    self._print_new(log, self._out)
                if log.stat().st_size > MAX_LOG_BYTES:
                    trim(log)

    def _print_new(self, log: Path, out: TextIO) -> None:
        offset, size = self._offsets[log], log.stat().st_size
        if size == offset:
            return
        offset = offset if size > offset else 0
        with log.open("rb") as file:
            file.seek(offset)
            added = file.read(MAX_READ_BYTES)
        whole = added[: added.rfind(b"\n") + 1]
        self._offsets[log] = offset + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            print(readable(log.stem, line, self._colour), file=out)
        out.flush()

    async def _run(self) -> None:
        while True:
            self.print_new()
            await asyncio.sleep(POLL_S if self._out is not None else WATCH_S)


def trim(log: Path) -> None:
    """Empties a log that has grown too long. Its writer appends, and goes on at the start."""
    os.truncate(log, 0)


def readable(name: str, line: str, colour: bool) -> str:
    """A line as a person reads it; one that is not JSON stays as it is."""
    try:
        record = json.loads(line)
        text = _told(record, colour) if isinstance(record, Mapping) else line
    except ValueError:
        text = line
    # One name has one colour in every run; hash() would not do.
    paint = COLOURS[zlib.crc32(name.encode()) % len(COLOURS)] if colour else None
    return f"{_painted(f'{name:<16}', paint)} {_painted('|', 90 if colour else None)} {text}"


def _told(record: Mapping[str, object], colour: bool) -> str:
    level = str(record.get("level") or "INFO").upper()
    moment = str(record.get("time") or "")
    parts = [moment[11:19], _painted(f"{level:<7}", LEVELS.get(level) if colour else None)]
    parts.append(str(record.get("message", "")))
    parts += _fields((key, value) for key, value in record.items() if key not in HIDDEN)
    text = " ".join(part for part in parts if part)
    stack = record.get("exception") or record.get("stack")
    return f"{text}\n{stack}" if stack else text


def _fields(items: Iterable[tuple[str, object]]) -> list[str]:
    return [f"{key}={value}" for key, value in items if value not in (None, "")]


def _painted(text: str, colour: int | None) -> str:
    return text if colour is None else f"\x1b[{colour}m{text}\x1b[0m"
