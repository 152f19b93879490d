"""Which new traces are recorded: by a ratio, by operation, or as a Jaeger says from time to time.

The strategies are those of Jaeger's remote sampling API, `GET /sampling?service=`; the answer is
JSON as in its `sampling.json`. Whoever begins a trace decides, and everybody after it follows.
"""

from __future__ import annotations

import http.client
import json
import logging
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit

__all__ = ["RemoteSampler", "Sampler", "Strategy"]

_INTERVAL_S: Final = 60.0
_FIRST_S: Final = 5.0
_TIMEOUT_S: Final = 2.0
_MAX_ANSWER: Final = 1 << 20
_BITS: Final = 56
_MASK: Final = (1 << _BITS) - 1

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Strategy:
    """The parts of new traces that are recorded: of an operation, or else the default.

    `per_second` bounds how many are, where a strategy is one of rate; None: no bound.
    """

    default: float = 1.0
    operations: Mapping[str, float] = field(default_factory=dict)
    per_second: float | None = None

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> Strategy:
        """Reads Jaeger's answer. Raises `ValueError` if it makes no sense."""
        try:
            by_operation = answer.get("operationSampling")
            if by_operation:
                default = _ratio(by_operation["defaultSamplingProbability"])
                each = by_operation.get("perOperationStrategies") or ()
                return cls(
                    default,
                    {
                        one["operation"]: _ratio(one["probabilisticSampling"]["samplingRate"])
                        for one in each
                    },
                )
            if by_rate := answer.get("rateLimitingSampling"):
                return cls(per_second=float(by_rate["maxTracesPerSecond"]))
            # A rate of nothing is left out of the JSON.
            return cls(_ratio(answer["probabilisticSampling"].get("samplingRate", 0)))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a sampling strategy: {error}") from None


class Sampler:
    """Decides by a strategy, which may be replaced at any time."""

    def __init__(self, strategy: Strategy) -> None:
        self.follow(strategy)

    def follow(self, strategy: Strategy) -> None:
        """Decides by this strategy from now on."""
        self.strategy = strategy
        self._default = _bound(strategy.default)
        self._bounds = {name: _bound(ratio) for name, ratio in strategy.operations.items()}
        self._tokens = min(strategy.per_second or 0.0, 1.0)
        self._refilled = time.monotonic()

    def decide(self, trace_id: int, operation: str) -> bool:
        """Whether a trace that begins with this operation is recorded."""
        if trace_id & _MASK >= self._bounds.get(operation, self._default):
            return False
        per_second = self.strategy.per_second
        return per_second is None or self._take(per_second)

    def _take(self, per_second: float) -> bool:
        now = time.monotonic()
        most = max(per_second, 1.0)
        self._tokens = min(most, self._tokens + (now - self._refilled) * per_second)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class RemoteSampler:
    """A thread that asks for a service's strategy once a minute, and keeps the last good answer."""

    def __init__(self, url: str, service: str, sampler: Sampler) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http address: {url}")
        self._host, self._port = parts.hostname, parts.port
        self._path = f"{parts.path.rstrip('/')}/sampling?service={quote(service, safe='')}"
        self._sampler = sampler
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Tells the thread to end; it does so within its timeout."""
        self._stopping.set()

    def ask(self) -> bool:
        """Asks once; whether there was an answer to follow. Blocks."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", self._path)
            response = connection.getresponse()
            body = response.read(_MAX_ANSWER)
            if response.status != 200:
                return False
            strategy = Strategy.read(json.loads(body))
        except (OSError, http.client.HTTPException, ValueError) as error:
            _log.info("no sampling strategy: %s", type(error).__qualname__)
            return False
        finally:
            connection.close()
        if strategy != self._sampler.strategy:
            self._sampler.follow(strategy)
        return True

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            pause = _INTERVAL_S if self.ask() else _FIRST_S
            pause *= random.uniform(0.8, 1.2)  # noqa: S311


def _ratio(value: Any) -> float:
    ratio = float(value)
    if not 0 <= ratio <= 1:
        raise ValueError(f"a ratio is between 0 and 1, not {ratio}")
    return ratio


def _bound(ratio: float) -> int:
    return round(ratio * (_MASK + 1))
