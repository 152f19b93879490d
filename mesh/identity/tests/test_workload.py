from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from mesh.identity.authority import Authority
from mesh.identity.join import authority_directory, mint_join_token, trust_bundle_file
from mesh.identity.workload import WorkloadIdentity, workload_of
from mesh.xds.plane import ControlPlane
from mesh.xds.settings import ControlPlaneSettings
from mesh.xds.tests.waiting import PATIENCE_S, until
from meshapi.v1 import registry_pb2 as pb
from meshapi.v1.registry_pb2_grpc import RegistryServiceStub

HOUR = timedelta(hours=1)


@pytest.fixture
def settings(tmp_path: Path) -> ControlPlaneSettings:
    return ControlPlaneSettings(
        data_dir=tmp_path / "control-plane", listen="127.0.0.1:0", identity_listen="127.0.0.1:0"
    )


@pytest.fixture
async def plane(settings: ControlPlaneSettings) -> AsyncIterator[ControlPlane]:
    plane = ControlPlane(settings)
    await plane.start()
    yield plane
    await plane.stop()


Identify = Callable[..., WorkloadIdentity]


@pytest.fixture
def identify(settings: ControlPlaneSettings, tmp_path: Path) -> Identify:
    def identify(address: str, workload: str = "accounts", token: str = "") -> WorkloadIdentity:
        file = tmp_path / f"{workload}.token"
        file.write_text(token or mint_join_token(settings.data_dir, workload, HOUR))
        return WorkloadIdentity(
            workload,
            directory=tmp_path / workload,
            address=address,
            join_token_file=file,
            trust_bundle_file=trust_bundle_file(settings.data_dir),
        )

    return identify


async def obtained(identity: WorkloadIdentity) -> WorkloadIdentity:
    await asyncio.wait_for(identity.obtain(), PATIENCE_S)
    return identity


async def problem_of(identity: WorkloadIdentity, words: str) -> None:
    asking = asyncio.create_task(identity.obtain())
    try:
        await until(lambda: words in identity.problem)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_workload_gets_what_its_token_names(
    plane: ControlPlane, identify: Identify
) -> None:
    identity = await obtained(identify(plane.identity_address))

    leaf = x509.load_pem_x509_certificate((identity.directory / "cert.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier("spiffe://bank.local/accounts")]
    assert identity.problem == ""
    assert leaf.not_valid_after_utc == identity.expires_at


async def test_a_bad_token_gets_nothing(plane: ControlPlane, identify: Identify) -> None:
    await problem_of(identify(plane.identity_address, token="x.y.z"), "UNAUTHENTICATED")


async def test_a_missing_token_is_named(plane: ControlPlane, identify: Identify) -> None:
    identity = identify(plane.identity_address)
    os.unlink(identity.directory.with_suffix(".token"))

    await problem_of(identity, "accounts.token")


async def test_an_authority_that_is_not_trusted_is_told_nothing(
    plane: ControlPlane, identify: Identify, tmp_path: Path
) -> None:
    identity = identify(plane.identity_address)
    identity._trust_bundle_file = trust_bundle_file(tmp_path / "foreign")

    await problem_of(identity, "UNAVAILABLE")


async def test_a_good_certificate_is_used_again_without_a_control_plane(
    plane: ControlPlane, identify: Identify
) -> None:
    first = await obtained(identify(plane.identity_address))
    await plane.stop()

    again = await obtained(identify("127.0.0.1:1"))

    assert again.expires_at == first.expires_at


async def test_a_certificate_of_another_authority_is_not_used_again(
    plane: ControlPlane, identify: Identify, tmp_path: Path
) -> None:
    await obtained(identify(plane.identity_address))
    identity = identify("127.0.0.1:1")
    identity._trust_bundle_file = trust_bundle_file(tmp_path / "foreign")

    await problem_of(identity, "UNAVAILABLE")


async def test_a_control_plane_that_is_not_up_yet_is_waited_for(
    settings: ControlPlaneSettings, identify: Identify, unused_tcp_port: int
) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    obtaining = asyncio.create_task(obtained(identify(address)))
    await asyncio.sleep(0)
    plane = ControlPlane(settings.model_copy(update={"identity_listen": address}))
    await plane.start()
    try:
        await obtaining
    finally:
        await plane.stop()


async def test_a_renewed_certificate_is_shown_at_the_next_handshake(
    plane: ControlPlane, identify: Identify
) -> None:
    identity = await obtained(identify(plane.identity_address))
    server, address = await _who_is_asking(identity)
    caller = await obtained(identify(plane.identity_address, "transfers"))
    try:
        before = await _serial_shown(address, caller)
        await asyncio.wait_for(identity._renew(), PATIENCE_S)

        after = await _serial_shown(address, caller)
        assert after != before
        assert after == _serial_kept(identity)
    finally:
        await server.stop(None)


async def test_renewal_comes_at_half_the_life(
    settings: ControlPlaneSettings, identify: Identify
) -> None:
    plane = ControlPlane(settings.model_copy(update={"certificate_ttl_s": 4.0}))
    await plane.start()
    identity = await obtained(identify(plane.identity_address))
    first = _serial_kept(identity)
    keeping = asyncio.create_task(identity.keep())
    try:
        await until(lambda: _serial_kept(identity) != first)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await plane.stop()


async def test_both_sides_must_be_of_the_mesh(
    plane: ControlPlane, identify: Identify, tmp_path: Path
) -> None:
    server, address = await _who_is_asking(await obtained(identify(plane.identity_address)))
    own = Authority.open(authority_directory(plane.settings.data_dir))
    try:
        async with grpc.aio.secure_channel(
            address, grpc.ssl_channel_credentials(own.trust_bundle)
        ) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await RegistryServiceStub(channel).ListInstances(
                    pb.ListInstancesRequest(), timeout=PATIENCE_S
                )
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(None)


async def _who_is_asking(identity: WorkloadIdentity) -> tuple[grpc.aio.Server, str]:
    async def answer(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return workload_of(context).encode()

    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("who", {"Asks": method}),)
    )
    port = server.add_secure_port("127.0.0.1:0", identity.server_credentials())
    await server.start()
    return server, f"127.0.0.1:{port}"


async def _serial_shown(address: str, caller: WorkloadIdentity) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(str(caller.directory / "bundle.pem"))
    context.load_cert_chain(caller.directory / "cert.pem", caller.directory / "key.pem")
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(shown).serial_number


def _serial_kept(identity: WorkloadIdentity) -> int:
    content = (identity.directory / "cert.pem").read_bytes()
    return x509.load_pem_x509_certificate(content).serial_number
