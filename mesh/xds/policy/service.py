"""`meshapi.v1.PolicyService`: operators only, by the certificate of their connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from mesh.clock import now_us
from mesh.errors import FailedPrecondition, InvalidArgument, NotFound
from mesh.xds.asked import Answer, handler_of
from mesh.xds.policy.book import Book
from mesh.xds.policy.canary import AUTHOR, CanaryController
from mesh.xds.policy.capabilities import seen_clients
from mesh.xds.policy.document import differences, of_service, pruned
from mesh.xds.policy.judge import is_under_way
from mesh.xds.policy.preview import preview
from mesh.xds.policy.rules import World, in_vain, objections, unfit, warnings_of
from mesh.xds.publisher import Publisher
from meshapi.v1 import policy_pb2 as pb

__all__ = ["PolicyService", "unfit_for_clients"]

Q = TypeVar("Q", bound=Message)

_MAX_TEXT = 200

_log = logging.getLogger(__name__)


def unfit_for_clients(publisher: Publisher) -> Callable[[pb.MeshPolicy], list[str]]:
    """Makes the judge of policies that came into the store by another way than this service."""

    def judge(policy: pb.MeshPolicy) -> list[str]:
        found = unfit(pruned(policy, now_us()), _world(publisher))
        return [f"{each.field}: {each.description}" for each in found]

    return judge


class PolicyService:
    """The servicer."""

    def __init__(self, publisher: Publisher, book: Book, canaries: CanaryController) -> None:
        self._publisher = publisher
        self._book = book
        self._canaries = canaries

    def handler(self) -> grpc.GenericRpcHandler:
        """Makes what a server is given."""
        service = pb.DESCRIPTOR.services_by_name["PolicyService"]
        answers: dict[str, tuple[Answer, type[Message]]] = {
            "GetPolicy": (self._get, pb.GetPolicyRequest),
            "DiffPolicy": (self._diff, pb.DiffPolicyRequest),
            "ApplyPolicy": (self._apply, pb.ApplyPolicyRequest),
            "RollbackPolicy": (self._roll_back, pb.RollbackPolicyRequest),
            "TestPolicy": (self._test, pb.TestPolicyRequest),
            "ListPolicyRevisions": (self._list, pb.ListPolicyRevisionsRequest),
        }
        return handler_of(service, answers)

    async def _get(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        return pb.GetPolicyResponse(
            current=await self._book.revision(request.revision),
            canaries=self._canaries.statuses(),
            problem=self._book.problem,
        )

    async def _diff(self, request: pb.DiffPolicyRequest) -> pb.DiffPolicyResponse:
        now = await self._book.revision(request.to_revision)
        if request.HasField("policy"):
            new, names = pruned(request.policy, now_us()), (f"revision {now.revision}", "proposed")
            return pb.DiffPolicyResponse(lines=differences(now.policy, new, names))
        before = await self._before(now.revision, request.from_revision)
        names = (f"revision {before.revision}", f"revision {now.revision}")
        return pb.DiffPolicyResponse(lines=differences(before.policy, now.policy, names))

    async def _apply(self, request: pb.ApplyPolicyRequest) -> pb.ApplyPolicyResponse:
        policy = pruned(request.policy, now_us())
        forced = self._judge(policy, force=request.force)
        response = pb.ApplyPolicyResponse(
            current=self._book.current,
            warnings=[*forced, *warnings_of(policy, self._book.current.policy)],
        )
        if not request.dry_run:
            revision = await self._book.append(
                policy,
                author=_text(request.author),
                reason=_text(request.reason),
                expected=request.expected_revision,
                forced=self._is_forced(policy),
            )
            response.current.CopyFrom(revision)
        return response

    async def _roll_back(self, request: pb.RollbackPolicyRequest) -> pb.RollbackPolicyResponse:
        current = self._book.current
        target = await self._before(await self._last_change(), request.revision)
        policy = pruned(target.policy, now_us())
        for told in policy.services:
            # What is undone is not begun again.
            if is_under_way(told):
                told.ClearField("canary")
        self._judge(policy)
        revision = await self._book.append(
            policy,
            author=_text(request.author),
            reason=_text(request.reason) or f"back to revision {target.revision}",
            expected=current.revision,
            forced=self._is_forced(policy),
        )
        return pb.RollbackPolicyResponse(current=revision)

    def _is_forced(self, policy: pb.MeshPolicy) -> bool:
        """Whether a policy, new or left from before, holds what some client cannot follow."""
        return bool(in_vain(policy, _world(self._publisher), pb.MeshPolicy()))

    async def _test(self, request: pb.TestPolicyRequest) -> pb.TestPolicyResponse:
        service = self._publisher.catalogue.services.get(request.service)
        if service is None:
            raise NotFound("SERVICE_UNKNOWN", f"No service {request.service!r} ever registered.")
        policy = pruned(request.policy, now_us()) if request.HasField("policy") else None
        if policy is not None:
            self._judge(policy)
        told = of_service(policy or self._publisher.policy, request.service)
        return preview(service, told, request.method, request.headers, request.zone)

    async def _list(self, request: pb.ListPolicyRevisionsRequest) -> pb.ListPolicyRevisionsResponse:
        newest_first = (await self._book.history())[::-1]
        kept = newest_first[: request.limit] if request.limit > 0 else newest_first
        return pb.ListPolicyRevisionsResponse(revisions=kept)

    async def _last_change(self) -> int:
        """The last revision that is an operator's: a canary's steps are undone with its start."""
        own = [each.revision for each in await self._book.history() if each.author != AUTHOR]
        return max(own, default=self._book.current.revision)

    async def _before(self, revision: int, wanted: int) -> pb.PolicyRevision:
        """The revision that is wanted, or the one before another."""
        if wanted:
            return await self._book.revision(wanted)
        earlier = [each for each in await self._book.history() if each.revision < revision]
        if not earlier:
            raise FailedPrecondition("NO_EARLIER_POLICY", "There is no earlier revision.")
        return earlier[-1]

    def _judge(self, policy: pb.MeshPolicy, *, force: bool = False) -> list[str]:
        """Refuses a policy. Gives what is in vain and would be refused, were it not forced."""
        world, before = _world(self._publisher), self._book.current.policy
        found = objections(policy, world, before)
        vain = in_vain(policy, world, before)
        if force:
            for each in vain:
                _log.warning("policy forced: %s: %s", each.field, each.description)
        else:
            found = vain + found
        if found:
            _log.warning("policy refused: %s: %s", found[0].field, found[0].description)
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            raise InvalidArgument(
                "POLICY_REFUSED", f"The policy would not do what it says{more}.", *found
            )
        return [f"{each.field}: {each.description}" for each in vain]


def _world(publisher: Publisher) -> World:
    return World(
        services=publisher.catalogue.services,
        clients=seen_clients(publisher.clients),
        now_us=now_us(),
    )


def _text(text: str) -> str:
    return " ".join(text.split())[:_MAX_TEXT]
