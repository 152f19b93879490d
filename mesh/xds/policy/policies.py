"""The policy in the control plane: read before anything is served, then kept and followed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from mesh.events.jetstream import Jetstream
from mesh.xds.policy.book import Book
from mesh.xds.policy.bucket import Bucket
from mesh.xds.policy.canary import CanaryController
from mesh.xds.policy.judge import Loads, Measures
from mesh.xds.policy.service import PolicyService, unfit_for_clients
from mesh.xds.publisher import Publisher
from mesh.xds.together import until_one_ends

__all__ = ["Policies"]

_NAME = "control-plane"

_log = logging.getLogger(__name__)


class Policies:
    """`await start()`, then `await run()`, which never ends by itself, then `await stop()`.

    Without a NATS URL the policy and its history are kept in `path` alone; `roots` are a file, by
    which NATS is known.
    """

    def __init__(
        self,
        publisher: Publisher,
        loads: Loads,
        measures: Measures,
        path: Path,
        nats_url: str,
        roots: Path | None = None,
    ) -> None:
        self._jetstream = Jetstream(nats_url, service=_NAME, roots=roots) if nats_url else None
        self.book = Book(
            path,
            Bucket(self._jetstream) if self._jetstream else None,
            follow=publisher.follow,
            objections=unfit_for_clients(publisher),
        )
        self.canaries = CanaryController(self.book, loads, measures)
        self.service = PolicyService(publisher, self.book, self.canaries)
        self._following: asyncio.Task[None] | None = None

    async def start(self, patience_s: float) -> None:
        """Follows the policy of the last run. Where there was none, the bucket is given a moment:
        clients must not be told that there is no policy because nobody had asked yet.
        """
        known = self.book.load()
        if self._jetstream is not None:
            await self._jetstream.start()
        self._following = asyncio.create_task(self.book.keep())
        if not known:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self.book.until_read()

    async def run(self) -> None:
        """Follows the store and carries the canaries out, for ever."""
        await until_one_ends(self._follow(), self.canaries.run())

    async def stop(self) -> None:
        """Stops to follow. The policy stays as it is."""
        self.book.stop()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._jetstream is not None:
            await self._jetstream.stop()

    async def _follow(self) -> None:
        if self._following is not None:
            await asyncio.shield(self._following)
