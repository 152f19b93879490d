"""The thread that sends spans to a collector, and never holds anything up.

The queue is bounded. While the collector is away the queue fills, then spans are dropped and
counted; what is queued is sent when it comes back.
"""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from .otlp import Encoder
from .spans import RecordedSpan

__all__ = ["Exporter", "Figures"]

_INTERVAL_S = 0.2
_MAX_BACKOFF_S = 5.0
_TIMEOUT_S = 1.0
_CAPACITY = 8_192
_BATCH = 1_024
_SLICE = 64
_BREATH_S = 0.000_2
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """How many spans were sent, were dropped, and wait."""

    exported: int
    dropped: int
    queued: int


class Exporter:
    """Sends spans to `{url}/v1/traces` as OTLP/HTTP JSON, five times a second or more often."""

    def __init__(self, url: str, resource: Mapping[str, str], *, capacity: int = _CAPACITY) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) address: {url}")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/v1/traces"
        self._connection: http.client.HTTPConnection | None = None
        self._encoder = Encoder(resource)
        self._queue: deque[RecordedSpan] = deque()
        self._capacity = capacity
        self._unsent: tuple[bytes, int] | None = None
        self._held = 0
        self._failures = 0
        self._exported = 0
        self._dropped = 0
        self._busy = False
        self._stopping = False
        self._wake = threading.Event()
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="span-exporter", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def offer(self, span: RecordedSpan) -> None:
        """Takes a span that has ended; drops it if too many wait. Never blocks."""
        waiting = len(self._queue)
        if waiting >= self._capacity or self._stopping:
            self._dropped += 1
            return
        self._queue.append(span)
        if waiting == _BATCH:
            self._wake.set()

    def figures(self) -> Figures:
        """Counts the spans."""
        return Figures(self._exported, self._dropped, len(self._queue) + self._held)

    def flush(self, timeout_s: float) -> bool:
        """Waits until all spans are sent; tells whether they are."""
        deadline = time.monotonic() + timeout_s
        while self._busy or self._queue or self._unsent:
            left = deadline - time.monotonic()
            if left <= 0 or not self._thread.is_alive():
                return False
            self._settled.clear()
            self._wake.set()
            self._settled.wait(min(left, 0.05))
        return True

    def stop(self, timeout_s: float) -> None:
        """Sends what waits and ends the thread; leaves it behind if that takes longer."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._pause_s())
            self._wake.clear()
            self._busy = True
            try:
                self._send_all()
            except Exception as error:
                _log.error("spans were lost: %s", type(error).__qualname__)
            finally:
                self._busy = False
                self._settled.set()
        self._dropped += self.figures().queued
        self._queue.clear()
        self._unsent, self._held = None, 0
        self._disconnect()

    def _pause_s(self) -> float:
        if not self._failures:
            return _INTERVAL_S
        ceiling: float = min(_MAX_BACKOFF_S, _INTERVAL_S * 2**self._failures)
        return random.uniform(_INTERVAL_S, ceiling)  # noqa: S311

    def _send_all(self) -> None:
        while self._queue or self._unsent:
            self._unsent = batch = self._unsent or self._encode()
            if batch is None:
                continue
            body, count = batch
            answer = self._post(body)
            if answer is None or answer in _RETRYABLE:
                self._failures = min(self._failures + 1, 8)
                if self._failures == 1:
                    _log.info("the collector does not take spans; they wait")
                return
            self._failures = 0
            self._unsent = None
            self._held = 0
            if 200 <= answer < 300:
                self._exported += count
            else:
                self._dropped += count

    def _encode(self) -> tuple[bytes, int] | None:
        """Encodes a batch in slices, between which others may have the interpreter's lock."""
        queue, encode, encoded = self._queue, self._encoder.span, []
        for _ in range(_BATCH // _SLICE):
            for _ in range(_SLICE):
                if not queue:
                    break
                self._held += 1
                span = queue.popleft()
                try:
                    encoded.append((span.scope, encode(span)))
                except (TypeError, ValueError, AttributeError):
                    self._held -= 1
                    self._dropped += 1
            if not queue:
                break
            if not self._stopping:
                time.sleep(_BREATH_S)
        return (self._encoder.body(encoded), len(encoded)) if encoded else None

    def _post(self, body: bytes) -> int | None:
        """Posts a batch. None: nobody answered. A connection that had gone stale is made anew."""
        reused = self._connection is not None
        try:
            return self._post_once(body)
        except TimeoutError:
            self._disconnect()
            return None
        except (OSError, http.client.HTTPException):
            self._disconnect()
        if not reused:
            return None
        try:
            return self._post_once(body)
        except (OSError, http.client.HTTPException):
            self._disconnect()
            return None

    def _post_once(self, body: bytes) -> int:
        connection = self._connection
        if connection is None:
            factory = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = self._connection = factory(self._host, self._port, timeout=_TIMEOUT_S)
        connection.request("POST", self._path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read(65_536)
        if not response.isclosed():
            self._disconnect()
        return response.status

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
