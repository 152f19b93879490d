"""The policy of now and its history, kept in a file, or in NATS with the newest in a file.

With NATS down, or the control plane started without it, the last policy that is known goes on. It
can then not be changed: two control planes must never follow two policies for long.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from google.protobuf import json_format

from mesh.clock import now_us
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound, Refused
from mesh.identity.directory import write_private
from mesh.xds.policy.bucket import HISTORY, Bucket, Kept
from mesh.xds.policy.document import next_expiry_us, pruned
from mesh.xds.together import until_one_ends
from meshapi.v1 import policy_pb2 as pb

__all__ = ["Book"]

_MOST_BYTES = 200_000
_US = 1e6
# The event loop's timers may be a little early.
_LATE_S = 0.005

_log = logging.getLogger(__name__)


class Book:
    """Keeps the policy. `follow` is called with what holds now, whenever that changes: the policy
    without the faults whose time is over.

    `objections` says what is wrong with a policy that came into the bucket by another way; such a
    policy is not followed, unless an operator forced it. `problem` says what keeps us from
    following the bucket.
    """

    def __init__(
        self,
        path: Path,
        bucket: Bucket | None,
        *,
        follow: Callable[[pb.MeshPolicy], None],
        objections: Callable[[pb.MeshPolicy], Sequence[str]],
    ) -> None:
        self.current = pb.PolicyRevision(policy=pb.MeshPolicy())
        self.problem = "not read yet" if bucket else ""
        self._path = path
        self._bucket = bucket
        self._follow = follow
        self._objections = objections
        # Without a bucket: all of them, the oldest first.
        self._revisions: list[pb.PolicyRevision] = []
        self._last_seen = 0
        self._read = asyncio.Event()
        self._unwritten = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def load(self) -> bool:
        """Reads what the last run knew, and follows it. Tells whether there was anything."""
        try:
            items = json.loads(self._path.read_bytes())
            revisions = [json_format.ParseDict(item, pb.PolicyRevision()) for item in items]
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError, json_format.ParseError):
            _log.exception("the policy on disk cannot be read")
            return False
        if not revisions:
            return False
        self._revisions = revisions
        self._last_seen = revisions[-1].revision
        self._adopt(revisions[-1])
        return True

    async def until_read(self) -> None:
        """Waits until the bucket has been read for the first time."""
        if self._bucket is not None:
            await self._read.wait()

    async def keep(self) -> None:
        """Follows the bucket for ever; without one it only waits."""
        if self._bucket is None:
            await asyncio.Event().wait()
            return
        await until_one_ends(self._bucket.follow(self._take), self._write())

    def stop(self) -> None:
        """Stops waiting for faults to end."""
        if self._timer is not None:
            self._timer.cancel()

    async def append(
        self,
        policy: pb.MeshPolicy,
        *,
        author: str,
        reason: str,
        expected: int = 0,
        forced: bool = False,
    ) -> pb.PolicyRevision:
        """Keeps a policy as the newest revision, and follows it.

        Raises `FailedPrecondition` when `expected`, if not 0, is not the revision of now, and
        `Transient` when it cannot be kept.
        """
        if expected not in (0, self.current.revision):
            raise FailedPrecondition(
                "POLICY_CHANGED",
                f"The policy is at revision {self.current.revision} now, not at {expected}.",
            )
        revision = pb.PolicyRevision(policy=policy, author=author, reason=reason, forced=forced)
        revision.applied_at.FromMicroseconds(now_us())
        value = _written(revision)
        if len(value) > _MOST_BYTES:
            raise InvalidArgument("POLICY_TOO_LARGE", "A policy has at most 200 kB as JSON.")
        if self._bucket is not None:
            revision.revision = await self._bucket.write(value, self._last_seen)
        else:
            revision.revision = self.current.revision + 1
        # While we wrote, a later one may have come in from the bucket.
        if revision.revision >= self._last_seen:
            self._last_seen = revision.revision
            self.problem = ""
            self._adopt(revision)
            await asyncio.to_thread(write_private, self._path, self._on_disk())
        return revision

    async def history(self) -> list[pb.PolicyRevision]:
        """Gives the revisions that are kept, the oldest first. Raises `Transient`."""
        if self._bucket is None:
            return self._revisions
        found = []
        for kept in await self._bucket.history():
            try:
                found.append(_parsed(kept))
            except Refused as error:
                revision = pb.PolicyRevision(revision=kept[0], reason=error.message)
                found.append(revision)
        return found

    async def revision(self, number: int) -> pb.PolicyRevision:
        """Finds a revision, 0 for that of now. Raises `NotFound`."""
        if number in (0, self.current.revision):
            return self.current
        for revision in await self.history():
            if revision.revision == number:
                return revision
        raise NotFound("REVISION_UNKNOWN", f"Revision {number} of the policy is not kept.")

    def _take(self, kept: Kept | None) -> None:
        self._read.set()
        if kept is None:
            kept_here = self.current.revision and "the bucket is empty; the last policy goes on"
            self.problem = kept_here or ""
            self._last_seen = 0
            return
        if kept[0] == self._last_seen and not self.problem:
            return
        self._last_seen = kept[0]
        try:
            revision = _parsed(kept)
            objections = [] if revision.forced else self._objections(revision.policy)
        except Refused as error:
            objections = [error.message]
        if objections:
            problem = f"revision {kept[0]} is not followed: {objections[0]}"
            if problem != self.problem:
                _log.error("policy not followed: %s", problem)
            self.problem = problem
            return
        self.problem = ""
        if revision != self.current:
            self._adopt(revision)
            self._unwritten.set()

    async def _write(self) -> None:
        """Writes what came in from the bucket."""
        while True:
            await self._unwritten.wait()
            self._unwritten.clear()
            try:
                await asyncio.to_thread(write_private, self._path, self._on_disk())
            except OSError:
                _log.exception("the policy cannot be written; it is kept in memory")

    def _adopt(self, revision: pb.PolicyRevision) -> None:
        self.current = revision
        if self._bucket is not None:
            self._revisions = [revision]
        elif revision not in self._revisions:
            self._revisions = [*self._revisions, revision][-HISTORY:]
        _log.info(
            "policy followed",
            extra={
                "revision": revision.revision,
                "author": revision.author,
                "reason": revision.reason,
            },
        )
        self._tell()

    def _tell(self) -> None:
        self.stop()
        now = now_us()
        self._follow(pruned(self.current.policy, now))
        end = next_expiry_us(self.current.policy, now)
        if end is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later((end - now) / _US + _LATE_S, self._tell)

    def _on_disk(self) -> bytes:
        items = [json_format.MessageToDict(revision) for revision in self._revisions]
        return json.dumps(items, indent=1).encode()


def _written(revision: pb.PolicyRevision) -> bytes:
    return json.dumps(
        json_format.MessageToDict(revision, preserving_proto_field_name=True)
    ).encode()


def _parsed(kept: Kept) -> pb.PolicyRevision:
    try:
        revision = json_format.ParseDict(json.loads(kept[1]), pb.PolicyRevision())
    except (ValueError, TypeError, json_format.ParseError) as error:
        raise InvalidArgument("POLICY_UNREADABLE", f"It is no policy: {error}") from None
    revision.revision = kept[0]
    return revision
