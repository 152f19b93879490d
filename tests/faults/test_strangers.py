"""Callers that may not call: refused, and told apart in a metric of the server."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from mesh.identity.authority import Authority, new_key, pem_of
from mesh.tests.processes import eventually, get

from .world import serving, world_in

pytestmark = pytest.mark.timeout(90)

METHOD = "/bank.accounts.v1.AccountsService/DescribeAccount"
POST = "/bank.accounts.v1.AccountsService/PostEntry"


def credentials(
    authority: Authority, trusted: bytes, ttl: timedelta = timedelta(hours=1)
) -> grpc.ChannelCredentials:
    key = new_key()
    issued = authority.issue("edge", key.public_key(), ttl)
    return grpc.ssl_channel_credentials(trusted, pem_of(key), issued.chain_pem)


async def refused(channel: grpc.aio.Channel, method: str = METHOD) -> grpc.StatusCode:
    async with channel:
        try:
            await channel.unary_unary(method)(b"", timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    raise AssertionError("it was let in")


async def test_strangers_are_refused_and_told_apart(tmp_path: Path) -> None:
    async with world_in(tmp_path) as world:
        await world.plane()
        (backend,) = await world.backends("a")
        ours = Authority.open(world.data_dir / "authority")
        foreign = Authority.open(tmp_path / "foreign")
        target = await serving(backend)
        # They would not take the server's certificate either, which names no host. What the server
        # thinks of theirs is what is tested.
        name = (("grpc.ssl_target_name_override", "x"),)

        def secured(given: grpc.ChannelCredentials) -> grpc.aio.Channel:
            return grpc.aio.secure_channel(target, given, options=name)

        expired = timedelta(minutes=-1)
        for channel in (
            secured(credentials(foreign, ours.trust_bundle)),
            secured(credentials(ours, ours.trust_bundle, expired)),
            secured(grpc.ssl_channel_credentials(ours.trust_bundle)),
            grpc.aio.insecure_channel(target),
        ):
            assert await refused(channel) is grpc.StatusCode.UNAVAILABLE
        driver = await world.driver("edge")
        answer = await driver.do("ask", method="PostEntry")
        assert answer["error"] == "PermissionDenied CALLER_NOT_ALLOWED"

        wanted = {
            "CALLER_NOT_ALLOWED",
            "CERTIFICATE_EXPIRED",
            "CERTIFICATE_MISSING",
            "CERTIFICATE_UNTRUSTED",
            "PLAINTEXT",
        }

        async def all_counted() -> bool:
            text = (await get(backend.admin, "/metrics"))[1]
            found = set(re.findall(r'mesh_peers_refused_total\{.*error_type="(\w+)"', text))
            return found >= wanted

        await eventually(all_counted)
