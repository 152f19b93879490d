"""A server's judgement of itself: whether it fails too many of its calls.

C-core takes every status but OK for a failure, an answer such as NOT_FOUND too, so clients can only
be trusted to eject an instance that fails nearly everything. The server knows better: a refusal is
none of its faults. It tells the control plane, which spares it as long as the others do better
(`mesh.xds.catalogue.outliers`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from mesh.rpc.load import Load
from observability import logs

__all__ = ["Judgement"]

_TICK_S = 0.25
_TICKS = 4
_LEAST_FAULTS = 5
_SHARE = 0.3
_FIRST_REST_S = 10.0
_LONGEST_REST_S = 80.0
# Who did well for so long starts anew.
_FORGIVEN_AFTER_S = 60.0

log = logs.get_logger(__name__)


class Judgement:
    """Watches the calls of a server. `tell` is called with whether it fails, when that changes."""

    def __init__(self, load: Load, tell: Callable[[bool], None]) -> None:
        self._load = load
        self._tell = tell
        self._seen = (load.started, load.faults)
        self._ticks: deque[tuple[int, int]] = deque(maxlen=_TICKS)

    async def watch(self) -> None:
        """Judges, for as long as it runs."""
        loop = asyncio.get_running_loop()
        rest_s, returned = _FIRST_REST_S, loop.time()
        while True:
            await asyncio.sleep(_TICK_S)
            if not self._fails():
                continue
            if loop.time() - returned > _FORGIVEN_AFTER_S:
                rest_s = _FIRST_REST_S
            log.warning("too many calls fail here", extra={"rest_s": rest_s})
            self._tell(True)
            await asyncio.sleep(rest_s)
            self._tell(False)
            rest_s, returned = min(rest_s * 2, _LONGEST_REST_S), loop.time()
            self._forget()

    def _fails(self) -> bool:
        """Tells whether too many calls of the last second failed."""
        now = (self._load.started, self._load.faults)
        self._ticks.append((now[0] - self._seen[0], now[1] - self._seen[1]))
        self._seen = now
        calls = sum(each for each, _ in self._ticks)
        faults = sum(each for _, each in self._ticks)
        return faults >= _LEAST_FAULTS and faults >= _SHARE * calls

    def _forget(self) -> None:
        self._ticks.clear()
        self._seen = (self._load.started, self._load.faults)
