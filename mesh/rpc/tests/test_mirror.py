"""Copies of calls, between real servers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from mesh.errors import Transient
from mesh.rpc.client import Channels, make_stub
from mesh.rpc.context import Context
from mesh.rpc.mirror import MirrorRule
from mesh.rpc.policy import method_of, policy_of
from mesh.rpc.tests.parts import Accounts, Served, describe, serving
from mesh.tests.processes import eventually
from observability import metrics

DESCRIBE = "/bank.accounts.v1.AccountsService/DescribeAccount"
POST = "/bank.accounts.v1.AccountsService/PostEntry"
ALL = {"accounts": MirrorRule(100.0, service="shadow")}


class Target(Accounts):
    """Remembers who asked it; slow or broken when it is told so."""

    def __init__(self) -> None:
        super().__init__(self.answered)
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.pause_s = 0.0
        self.broken = False

    async def answered(self, request: Any, context: Context) -> Any:
        self.asked.append((request, dict(context.invocation_metadata() or ())))
        await asyncio.sleep(self.pause_s)
        if self.broken:
            raise Transient("BROKEN", "It is broken.")
        return pb.DescribeAccountResponse(company_id="x")


@asynccontextmanager
async def mirrored(first: Target, second: Target) -> AsyncIterator[Channels]:
    """Channels to two services, with copies being made."""
    async with serving(first) as real, serving(second) as shadow:
        served: dict[str, Served] = {"accounts": real, "shadow": shadow}
        channels = Channels(lambda name: grpc.aio.insecure_channel(served[name].address))
        copying = asyncio.create_task(channels.mirrors.run())
        yield channels
        copying.cancel()
        await asyncio.gather(copying, return_exceptions=True)
        await channels.close()


def counted(code: str) -> int:
    text = metrics.render().decode()
    found = re.findall(rf'mesh_mirrored_calls_total{{.*"{code}"}} (\d+)', text)
    return sum(map(int, found))


async def until_counted(code: str, number: int) -> None:
    async def are() -> bool:
        return counted(code) >= number

    await eventually(are)


async def test_calls_are_copied_with_a_header_and_a_trace_of_their_own() -> None:
    first, second = Target(), Target()
    async with mirrored(first, second) as channels:
        accounts = make_stub(AccountsServiceStub, "accounts", channels)
        await accounts.DescribeAccount(describe())
        assert not second.asked
        before = counted("OK")

        channels.mirrors.follow(ALL)
        for _ in range(5):
            await accounts.DescribeAccount(describe())
        await until_counted("OK", before + 5)
        channels.mirrors.follow({})
        await accounts.DescribeAccount(describe())

    assert len(first.asked) == 7
    assert len(second.asked) == 5
    assert {request == describe() for request, _ in second.asked} == {True}
    assert {sent["x-mesh-mirrored"] for _, sent in second.asked} == {"1"}
    assert all("x-mesh-mirrored" not in sent for _, sent in first.asked)


async def test_a_shadow_that_hangs_or_fails_is_not_noticed_by_the_caller() -> None:
    first, second = Target(), Target()
    second.pause_s = 30.0
    async with mirrored(first, second) as channels:
        channels.mirrors.follow(ALL)
        accounts = make_stub(AccountsServiceStub, "accounts", channels)
        dropped = counted("DROPPED")
        for _ in range(200):
            assert (await accounts.DescribeAccount(describe())).company_id == "x"
        # So many wait and run; the rest is dropped, and nobody waits.
        assert counted("DROPPED") - dropped >= 200 - 128 - 8
    assert len(first.asked) == 200

    first, second = Target(), Target()
    second.broken = True
    async with mirrored(first, second) as channels:
        channels.mirrors.follow(ALL)
        accounts = make_stub(AccountsServiceStub, "accounts", channels)
        failed = counted("UNAVAILABLE")
        assert (await accounts.DescribeAccount(describe())).company_id == "x"
        await until_counted("UNAVAILABLE", failed + 1)


@pytest.mark.parametrize(
    ("path", "rule", "copies"),
    [
        (DESCRIBE, MirrorRule(1.0), True),
        (DESCRIBE, MirrorRule(1.0, frozenset({DESCRIBE})), True),
        (DESCRIBE, MirrorRule(1.0, frozenset({POST}), "shadow"), False),
        (POST, MirrorRule(1.0), False),
        (POST, MirrorRule(1.0, service="shadow"), False),
        # Another version of the service would post the same entry again.
        (POST, MirrorRule(1.0, frozenset({POST})), False),
        (POST, MirrorRule(1.0, frozenset({POST}), "shadow"), True),
    ],
)
def test_what_changes_something_is_copied_only_elsewhere_and_by_name(
    path: str, rule: MirrorRule, copies: bool
) -> None:
    assert rule.copies(policy_of(method_of(path))) is copies
