"""Logs: one JSON object a line, with the ids of the current trace; or lines for people.

Lines are written by a thread of their own from a bounded queue: an output that nobody reads costs
lines, which are counted, and never holds a request up. Of exceptions only the type and the places
in the code are logged as JSON; their messages may hold personal data.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import orjson
from opentelemetry.trace import Span

from .current import current_span
from .redaction import mask
from .spans import RecordedSpan

__all__ = ["Recurring", "configure", "dropped", "emit", "flush", "get_logger", "shutdown"]

Format = Literal["json", "console"]
_Facts = Mapping[str, object]

_CAPACITY: Final = 8_192
_INTERVAL_S: Final = 0.05
_CHUNK: Final = 512
_MAX_TEXT: Final = 4_096
_OPTIONS: Final = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS: Final = {"warning": "33", "error": "31", "critical": "31;1"}
_URGENT: Final = frozenset({"error", "critical"})

get_logger = logging.getLogger


class _Writer:
    """Writes lines to a file descriptor from a thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes | _Due] = deque()
        self._busy = False
        self._stopping = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self.dropped = 0
        self._thread.start()

    def put(self, line: bytes | _Due, urgent: bool = False) -> None:
        if len(self._lines) >= _CAPACITY:
            self.dropped += 1
            return
        self._lines.append(line)
        if urgent:
            self._wake.set()

    def flush(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self._lines or self._busy:
            if time.monotonic() >= deadline or not self._thread.is_alive():
                return False
            self._wake.set()
            time.sleep(0.002)
        return True

    def stop(self, timeout_s: float) -> None:
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping or self._lines:
            self._wake.wait(_INTERVAL_S)
            self._wake.clear()
            self._busy = True
            try:
                self._write_all()
            finally:
                self._busy = False

    def _write_all(self) -> None:
        while self._lines:
            count = min(len(self._lines), _CHUNK)
            lines = (self._lines.popleft() for _ in range(count))
            chunk = memoryview(b"".join(map(_rendered, lines)))
            try:
                while chunk:
                    chunk = chunk[os.write(self._descriptor, chunk) :]
            except OSError:
                self.dropped += count


class _Handler(logging.Handler):
    """Hands the records of the standard library's loggers to `emit`."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            facts = {key: value for key, value in vars(record).items() if key not in _STANDARD}
            if record.exc_info and record.exc_info[1] is not None:
                facts |= _exception(record.exc_info[1])
            emit(record.levelname.lower(), record.name, record.getMessage(), facts, record.created)
        except Exception:
            self.handleError(record)


_writer: _Writer | None = None
_render: Callable[..., bytes] | None = None
_service: dict[str, str] = {}
_exposes_messages = False


def configure(
    *,
    service: str,
    format: Format = "json",
    instance: str = "",
    level: str = "INFO",
    descriptor: int | None = None,
) -> None:
    """Sends all logs to `descriptor` (standard error if not given) from now on."""
    global _writer, _render, _service, _exposes_messages
    shutdown()
    _service = {"service": service, "instance": instance} if instance else {"service": service}
    _exposes_messages = format == "console"
    target = sys.stderr.fileno() if descriptor is None else descriptor
    _render = _console(os.isatty(target)) if format == "console" else _json
    _writer = _Writer(target)
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(level)


def shutdown(timeout_s: float = 1.0) -> None:
    """Writes what waits, for at most `timeout_s`, and gives logging back."""
    global _writer
    writer, _writer = _writer, None
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, _Handler)]
    if writer is not None:
        writer.stop(timeout_s)


def flush(timeout_s: float = 1.0) -> bool:
    """Waits until the lines are written; tells whether they are. Blocks."""
    return _writer is None or _writer.flush(timeout_s)


def dropped() -> int:
    """Counts the lines that were lost."""
    return 0 if _writer is None else _writer.dropped


def emit(
    level: str,
    logger: str,
    message: str,
    facts: _Facts | None = None,
    at: float | None = None,
    span: Span | None = None,
) -> None:
    """Writes one line, past the standard library: for lines that are written for every call.

    `level` is in lower case. Nobody filters it. `at` is in seconds since 1970; now, if not given.
    `span` is the current one, if not given.
    """
    writer, render = _writer, _render
    if writer is None or render is None:
        if logging.getLogger().handlers:
            number = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
            logging.getLogger(logger).log(number, "%s %s", message, dict(facts or {}))
        return
    moment = datetime.fromtimestamp(at, UTC) if at is not None else datetime.now(UTC)
    ids = _ids(span or current_span())
    writer.put(render(moment, level, logger, message, facts, ids), level in _URGENT)


class Recurring:
    """A line that is written for every call, past the standard library. Only its time, its span and
    one number differ: the rest is rendered once, and each line by the writer's thread.
    """

    __slots__ = ("_facts", "_logger", "_message", "_number", "_rest", "_service")

    def __init__(self, logger: str, message: str, facts: _Facts, number: str) -> None:
        self._logger, self._message = logger, message
        self._facts, self._number = facts, number
        self._rest = ""
        self._service: dict[str, str] | None = None

    def write(self, at: float, span: Span, number: float) -> None:
        """Writes the line, of a moment in seconds since 1970."""
        writer = _writer
        if writer is not None:
            writer.put((self, at, span, number))
        else:
            facts = {**self._facts, self._number: number}
            emit("info", self._logger, self._message, facts, at, span)

    def render(self, at: float, span: Span, number: float) -> bytes:
        """Renders the line. Called by the writer."""
        ids = _ids(span)
        if _render is not _json or not ids:
            facts = {**self._facts, self._number: number}
            render, moment = _render or _json, datetime.fromtimestamp(at, UTC)
            return render(moment, "info", self._logger, self._message, facts, ids)
        if self._service is not _service:
            self._prepare()
        return (
            f'{{"time":"{_moment(at)}"{self._rest},"trace_id":"{ids["trace_id"]}",'
            f'"span_id":"{ids["span_id"]}","{self._number}":{number!r}}}\n'
        ).encode()

    def _prepare(self) -> None:
        self._service = _service
        whole = _json(datetime.now(UTC), "info", self._logger, self._message, self._facts, {})
        self._rest = whole[whole.index(b',"level"') : whole.rindex(b"}")].decode()


_Due: TypeAlias = tuple[Recurring, float, Span, float]


def _rendered(line: bytes | _Due) -> bytes:
    if isinstance(line, bytes):
        return line
    recurring, at, span, number = line
    return recurring.render(at, span, number)


def _ids(span: Span) -> dict[str, str]:
    ids = span if type(span) is RecordedSpan else span.get_span_context()
    if not ids.span_id:
        return {}
    return {"trace_id": f"{ids.trace_id:032x}", "span_id": f"{ids.span_id:016x}"}


def _moment(at: float) -> str:
    """Writes a moment as `_json` does; the seconds are written once in each of them."""
    second = int(at)
    return f"{_seconds(second)}.{int((at - second) * 1e6):06d}Z"


@lru_cache(maxsize=4)
def _seconds(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _json(
    moment: datetime,
    level: str,
    logger: str,
    message: str,
    facts: _Facts | None,
    ids: dict[str, str],
) -> bytes:
    line: dict[str, object] = {
        "time": moment,
        "level": level,
        **_service,
        "logger": logger,
        "message": _safe(message),
        **ids,
    }
    for key, value in (facts or {}).items():
        line.setdefault(key, _safe(value) if type(value) is str else value)
    try:
        return orjson.dumps(line, _describe, _OPTIONS)
    except (TypeError, ValueError):
        printable = {str(key): _printable(value) for key, value in line.items()}
        return orjson.dumps({**printable, "time": moment}, option=_OPTIONS)


def _console(coloured: bool) -> Callable[..., bytes]:
    coloured = coloured and "NO_COLOR" not in os.environ

    def render(
        moment: datetime,
        level: str,
        logger: str,
        message: str,
        facts: _Facts | None,
        ids: dict[str, str],
    ) -> bytes:
        rest = dict(facts or {})
        stack = rest.pop("stack", ())
        words = [f"{key}={_printable(value)}" for key, value in rest.items()]
        if ids:
            words.append(f"trace={ids['trace_id']}")
        name = level.upper().ljust(7)
        if coloured and level in _COLOURS:
            name = f"\x1b[{_COLOURS[level]}m{name}\x1b[0m"
        time_of_day = moment.astimezone().strftime("%H:%M:%S.%f")[:-3]
        lines = [" ".join((time_of_day, name, f"{logger}:", _safe(message), *words))]
        if isinstance(stack, list):
            lines += [f"    {place}" for place in stack]
        return ("\n".join(lines) + "\n").encode("utf-8", "replace")

    return render


def _exception(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)
    facts: dict[str, object] = {
        "error_type": type(error).__qualname__,
        "stack": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if _exposes_messages:
        facts["error"] = _safe(str(error))
    return facts


def _safe(text: str) -> str:
    return mask(text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT])


def _describe(value: object) -> str:
    """Stands for a value that JSON does not have: its type, never its contents."""
    return f"<{type(value).__qualname__}>"


def _printable(value: object) -> str:
    """Writes any value as text: containers as JSON, what JSON does not have as its type."""
    if isinstance(value, str):
        text = value
    elif value is None or isinstance(value, bool | int | float):
        text = str(value)
    elif isinstance(value, dict | list | tuple):
        try:
            text = orjson.dumps(value, _describe, orjson.OPT_NON_STR_KEYS).decode()
        except (TypeError, ValueError):
            text = _describe(value)
    else:
        text = _describe(value)
    return _safe(text.encode("utf-8", "replace").decode())


atexit.register(shutdown)
