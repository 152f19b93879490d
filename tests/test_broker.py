"""What each service may do at NATS, tried with its own password at a real server over TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from mesh.identity.join import authority_directory
from mesh.supervisor.nats import nats_program, nats_url, prepare_nats
from mesh.supervisor.platform import control_data
from mesh.supervisor.ports import LOOPBACK, free_port
from mesh.testing.waiting import eventually
from services.__main__ import BANK

STREAMS = {
    "accounts": "ACCOUNTS",
    "pix": "PIX",
    "suppliers": "SUPPLIERS",
    "support": "SUPPORT",
    "transfers": "TRANSFERS",
    "users": "USERS",
}
READERS = {name for name in BANK.services if name != BANK.edge}
BUCKET = "KV_mesh-policy"


class Server:
    """The embedded profile's NATS, and whoever connects to it."""

    def __init__(self, data: Path, port: int) -> None:
        self.data = data
        self.endpoint = f"tls://localhost:{port}"
        self.roots = authority_directory(control_data(data)) / "bundle.pem"

    @asynccontextmanager
    async def connected(self, user: str) -> AsyncIterator[User]:
        refused: list[str] = []

        async def note(error: Exception) -> None:
            refused.append(str(error))

        client = await nats.connect(
            nats_url(self.data, self.endpoint, user),
            tls=ssl.create_default_context(cafile=self.roots),
            inbox_prefix=f"_INBOX_{user}",
            allow_reconnect=False,
            error_cb=note,
        )
        try:
            yield User(client, refused)
        finally:
            await client.close()


class User:
    """A connection, and what the server refused to it."""

    def __init__(self, client: Any, refused: list[str]) -> None:
        self.client = client
        self.refused = refused

    async def api(self, call: str, body: object = None) -> dict[str, Any]:
        answer = await self.client.request(f"$JS.API.{call}", json.dumps(body or {}).encode())
        found: dict[str, Any] = json.loads(answer.data)
        return found

    async def may_not_publish(self, subject: str) -> None:
        count = len(self.refused)
        await self.client.publish(subject, b"{}")
        await self._is_refused(count, f'to "{subject}"')

    async def may_not_hear(self, subject: str) -> None:
        count = len(self.refused)
        await self.client.subscribe(subject)
        await self._is_refused(count, f'to "{subject}"')

    async def _is_refused(self, count: int, what: str) -> None:
        await eventually(lambda: len(self.refused) > count, 5)
        assert "permissions violation" in self.refused[-1].lower()
        assert what.lower() in self.refused[-1].lower()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data, port = tmp_path_factory.mktemp("data"), free_port()
    authority = authority_directory(control_data(data))
    prepare_nats(BANK, data / "nats", authority, ("localhost", LOOPBACK))
    launch = nats_program(data, port).launch("nats-1")
    process = subprocess.Popen(launch.argv, env=launch.env, stderr=subprocess.DEVNULL)
    server = Server(data, port)
    try:
        asyncio.run(_made(server))
        yield server
    finally:
        process.kill()
        process.wait()


async def _made(server: Server) -> None:
    """Lets each service make its own stream, and tell something."""

    async def is_up() -> bool:
        try:
            async with server.connected("operator") as operator:
                return "streams" in await operator.api("STREAM.LIST")
        except (OSError, nats.errors.Error):
            return False

    await eventually(is_up)
    for name, stream in STREAMS.items():
        async with server.connected(name) as user:
            config = {"name": stream, "subjects": [f"bank.{name}.v1.>"], "storage": "memory"}
            made = await user.api(f"STREAM.CREATE.{stream}", config)
            assert "error" not in made, made
            told = await user.client.request(f"bank.{name}.v1.Told.a", b"1")
            assert json.loads(told.data)["seq"] == 1
    async with server.connected("control-plane") as plane:
        bucket = {"name": BUCKET, "subjects": ["$KV.mesh-policy.>"]}
        assert "error" not in await plane.api(f"STREAM.CREATE.{BUCKET}", bucket)


@pytest.mark.parametrize("name", BANK.services)
async def test_a_service_tells_nothing_in_the_name_of_another(server: Server, name: str) -> None:
    async with server.connected(name) as user:
        for other in STREAMS.keys() - {name}:
            await user.may_not_publish(f"bank.{other}.v1.Told.b")
        await user.may_not_publish("$KV.mesh-policy.mesh")
        await user.may_not_publish("_INBOX_users.x.1")


@pytest.mark.parametrize("name", BANK.services)
async def test_a_service_hears_its_own_inbox_only(server: Server, name: str) -> None:
    async with server.connected(name) as user:
        for subject in ("_INBOX_operator.>", "_INBOX.>", "bank.>", "$KV.>", "$JS.>", ">"):
            await user.may_not_hear(subject)


@pytest.mark.parametrize("name", BANK.services)
async def test_a_service_deletes_purges_and_changes_no_stream(server: Server, name: str) -> None:
    async with server.connected(name) as user:
        for stream in (*STREAMS.values(), BUCKET):
            for verb in ("DELETE", "PURGE", "UPDATE", "MSG.DELETE"):
                await user.may_not_publish(f"$JS.API.STREAM.{verb}.{stream}")
        await user.may_not_publish("$JS.API.STREAM.CREATE.MINE")
        await user.may_not_publish(f"$JS.API.STREAM.MSG.GET.{BUCKET}")


@pytest.mark.parametrize("name", sorted(READERS))
async def test_every_service_hears_which_sessions_have_ended(server: Server, name: str) -> None:
    async with server.connected(name) as user:
        config = {"name": f"{name}-x", "ack_policy": "none", "mem_storage": True}
        body = {"stream_name": "USERS", "config": config, "action": "create"}
        made = await user.api(f"CONSUMER.CREATE.USERS.{name}-x", body)
        assert made["num_pending"] == 1, made
        heard = await user.client.subscribe(f"_INBOX_{name}.pull")
        call = f"$JS.API.CONSUMER.MSG.NEXT.USERS.{name}-x"
        await user.client.publish(call, b"1", reply=f"_INBOX_{name}.pull")
        message = await heard.next_msg(5)
        assert message.data == b"1"


async def test_a_stream_that_a_service_does_not_listen_to_is_not_read(server: Server) -> None:
    async with server.connected("pix") as user:
        await user.may_not_publish("$JS.API.CONSUMER.CREATE.TRANSFERS.pix-x")
        await user.may_not_publish("$JS.API.STREAM.MSG.GET.TRANSFERS")


async def test_a_reaction_s_consumer_is_its_service_s_own(server: Server) -> None:
    async with server.connected("accounts") as user:
        for verb in ("CREATE", "DELETE", "MSG.NEXT", "RESET"):
            await user.may_not_publish(f"$JS.API.CONSUMER.{verb}.USERS.notifications-notify")
        await user.may_not_publish("$JS.ACK.USERS.notifications-notify.1.1.1.1.1")


async def test_who_has_no_password_or_no_tls_stays_outside(server: Server) -> None:
    context = ssl.create_default_context(cafile=server.roots)
    nobody = server.endpoint
    wrong = nobody.replace("://", "://users:guess@")
    for url in (nobody, wrong):
        with pytest.raises(nats.errors.Error):
            await nats.connect(url, tls=context, allow_reconnect=False, error_cb=_silent)
    plain = nats_url(server.data, server.endpoint, "users").replace("tls:", "nats:")
    reader, writer = await asyncio.open_connection("localhost", int(plain.rpartition(":")[2]))
    told = json.loads((await reader.readline()).removeprefix(b"INFO "))
    writer.close()
    assert told["tls_required"]


async def _silent(error: Exception) -> None:
    """It is raised, too."""
