"""Lanes: work in order by key, and side by side otherwise. No I/O.

What comes waits in the lane of its key. A batch takes from the lanes that nobody works on, and its
lanes are busy until it is settled. What has failed is put back at the head of its lane, alone: it
is handed out by itself from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Keyed", "Lanes"]


class Keyed(Protocol):
    """What a lane may hold."""

    alone: bool

    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=Keyed)


class Lanes(Generic[K]):
    """The lanes of one consumer. Its tasks share it, on one event loop."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[K]] = {}
        self._ready: deque[str] = deque()
        self._busy: set[str] = set()
        self._news = asyncio.Event()

    def put(self, item: K) -> None:
        """Adds an item at the end of its lane."""
        lane = self._lanes.get(item.key)
        if lane is None:
            self._lanes[item.key] = deque((item,))
            self._offer(item.key)
        else:
            lane.append(item)
            self._news.set()

    async def fill(self, most: int, window_s: float) -> None:
        """Waits until there is something to take, and then `window_s` for a batch to fill."""
        while not self._ready:
            self._news.clear()
            await self._news.wait()
        if window_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(window_s):
                    while sum(len(self._lanes[key]) for key in self._ready) < most:
                        self._news.clear()
                        await self._news.wait()

    async def take(self, most: int) -> list[K]:
        """Takes a batch, at least one item, whose lanes are busy until it is settled."""
        while not self._ready:
            self._news.clear()
            await self._news.wait()
        batch: list[K] = []
        while self._ready and len(batch) < most:
            lane = self._lanes[self._ready[0]]
            if lane[0].alone:
                if not batch:
                    self._busy.add(self._ready.popleft())
                    batch.append(lane.popleft())
                break
            self._busy.add(self._ready.popleft())
            while lane and len(batch) < most and not lane[0].alone:
                batch.append(lane.popleft())
        return batch

    def settle(self, batch: Sequence[K]) -> None:
        """Frees the lanes of a batch, whose items are done."""
        for item in batch:
            if item.key in self._busy:
                self._busy.discard(item.key)
                if self._lanes[item.key]:
                    self._offer(item.key)
                else:
                    del self._lanes[item.key]

    def put_back(self, batch: Sequence[K]) -> None:
        """Puts a batch back, each item alone at the place where it was."""
        for item in reversed(batch):
            item.alone = True
            self._lanes[item.key].appendleft(item)
        self.settle(batch)

    def _offer(self, key: str) -> None:
        self._ready.append(key)
        self._news.set()
