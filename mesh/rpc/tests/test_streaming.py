from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from mesh import errors
from mesh.rpc import Context, caller
from mesh.rpc.client import make_stub
from mesh.rpc.status import error_of
from meshapi.v1 import registry_pb2 as pb
from meshapi.v1.registry_pb2_grpc import RegistryServiceServicer, RegistryServiceStub

from .parts import serving


class Registry(RegistryServiceServicer):
    """Answers each message; refuses a draining instance; has a bug with an unspecified one."""

    async def Register(self, requests: Any, context: Context) -> AsyncIterator[Any]:
        assert caller().workload
        async for request in requests:
            if request.instance.state == pb.INSTANCE_STATE_DRAINING:
                raise errors.FailedPrecondition("DRAINING", "It drains.")
            if request.instance.state == pb.INSTANCE_STATE_UNSPECIFIED:
                raise ValueError("a secret")
            yield pb.RegisterResponse(acknowledged_state=request.instance.state)

    async def ListInstances(self, request: Any, context: Context) -> Any:
        return pb.ListInstancesResponse()


def telling(*states: pb.InstanceState.ValueType) -> AsyncIterator[pb.RegisterRequest]:
    async def tell() -> AsyncIterator[pb.RegisterRequest]:
        for state in states:
            yield pb.RegisterRequest(instance=pb.Instance(state=state))

    return tell()


async def test_a_stream_is_answered_with_a_stream() -> None:
    async with serving(Registry()) as served:
        registry = make_stub(RegistryServiceStub, "registry", served.channels)
        ready = pb.INSTANCE_STATE_READY
        answers = [answer async for answer in registry.Register(telling(ready, ready))]

    assert [answer.acknowledged_state for answer in answers] == [pb.INSTANCE_STATE_READY] * 2


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        (pb.INSTANCE_STATE_DRAINING, grpc.StatusCode.FAILED_PRECONDITION, "DRAINING"),
        (pb.INSTANCE_STATE_UNSPECIFIED, grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
async def test_an_error_ends_a_stream_with_its_status(
    state: pb.InstanceState.ValueType, code: grpc.StatusCode, reason: str
) -> None:
    async with serving(Registry()) as served:
        registry = make_stub(RegistryServiceStub, "registry", served.channels)
        answers = aiter(registry.Register(telling(pb.INSTANCE_STATE_READY, state)))
        await anext(answers)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(answers)

    assert caught.value.code() is code
    assert error_of(caught.value).reason == reason
    assert "secret" not in repr(caught.value)


async def test_a_stream_is_refused_to_who_may_not_call() -> None:
    async with serving(Registry(), workload="") as served:
        registry = make_stub(RegistryServiceStub, "registry", served.channels)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(registry.Register(telling(pb.INSTANCE_STATE_READY))))

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
