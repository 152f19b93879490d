"""The whole supervisor, with the real broker, trace store and control plane, and tiny services."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mesh.cli.control import control_plane
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.nats import nats_url
from mesh.supervisor.ports import LOOPBACK, Ports
from mesh.supervisor.problem import Problem
from mesh.supervisor.process import State
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running

ROOT = Path(__file__).parents[3]

SERVICE = """
import http.server, json, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
told = {key: value for key, value in os.environ.items() if key.startswith("MESH_")}
token = open(told["MESH_JOIN_TOKEN_FILE"]).read()
print(json.dumps(told | {"token": token}), flush=True)
host, port = told["MESH_ADMIN_LISTEN"].split(":")
http.server.HTTPServer((host, int(port)), Handler).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("quiet", "edge"):
        package = tmp_path / "tiny" / name
        package.mkdir(parents=True)
        (package / "__main__.py").write_text(SERVICE)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'protos/gen'}")
    return Project(
        name="tiny",
        version="7",
        root=tmp_path,
        package="tiny",
        services=["quiet", "edge"],
        edge="edge",
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def up(project: Project, data: Path) -> AsyncIterator[Embedded]:
    embedded = Embedded(project, data, Ports.free())
    await embedded.up()
    yield embedded
    await embedded.down()


@pytest.mark.faults
async def test_two_control_planes_share_authority_port_and_registry(
    project: Project, data: Path
) -> None:
    embedded = Embedded(project, data, Ports.free(), control_planes=2)
    await embedded.up()
    try:
        first, second = embedded.instances["control-plane"]
        (told,) = (
            json.loads(line)
            for line in (data / "logs" / "quiet-1.log").read_text().splitlines()
            if "MESH_REGISTRY" in line
        )
        running = Running.find(data)
        assert told["MESH_REGISTRY"].split(",") == running.endpoints.control_planes
        assert told["MESH_CONTROL_PLANE"] == running.endpoints.xds
        assert {first.address, second.address} == {
            each.replace("localhost", LOOPBACK) for each in running.endpoints.control_planes
        }
        own = data / "control-plane-2"
        assert own.is_dir()
        assert not (own / "authority").exists()

        def asked() -> list[Any]:
            with control_plane(running) as plane:
                return [plane.instances(), plane.clients()]

        assert await asyncio.to_thread(asked) == [[], []]
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        # One of them is enough to answer.
        assert await asyncio.to_thread(asked) == [[], []]
    finally:
        await embedded.down()


async def test_all_is_ready_and_the_status_says_where(up: Embedded, data: Path) -> None:
    status = await asyncio.to_thread(lambda: Running.find(data).status())

    assert [service["name"] for service in status["services"]] == ["quiet", "edge"]
    (edge,) = status["services"][1]["instances"]
    assert edge["state"] == "READY"
    assert edge["address"] == f"{LOOPBACK}:{up.ports.rest}"
    assert [each["name"] for each in status["platform"]] == ["nats", "traces", "control-plane"]


async def test_a_service_is_told_its_settings_and_given_its_token(up: Embedded, data: Path) -> None:
    told = json.loads(up.instances["quiet"][0].log.read_text())

    assert told["MESH_SERVICE"] == "quiet"
    assert told["MESH_INSTANCE_ID"] == "quiet-1"
    assert told["MESH_NATS_URL"] == nats_url(data, up.endpoints.nats, "quiet")
    assert stat.S_IMODE(os.stat(data / "nats" / "quiet.password").st_mode) == 0o600
    assert told["token"].count(".") == 2
    assert stat.S_IMODE(os.stat(told["MESH_JOIN_TOKEN_FILE"]).st_mode) == 0o600


async def test_a_service_is_scaled_and_restarted(up: Embedded, data: Path) -> None:
    running = Running.find(data)

    await asyncio.to_thread(running.change, "/api/scale/quiet/3")
    ids = [instance.id for instance in up.instances["quiet"]]
    before = [instance.pid for instance in up.instances["quiet"]]
    await asyncio.to_thread(running.change, "/api/restart/quiet")
    after = [instance.pid for instance in up.instances["quiet"]]
    await asyncio.to_thread(running.change, "/api/scale/quiet/1")

    assert ids == ["quiet-1", "quiet-2", "quiet-3"]
    assert not set(before) & set(after)
    assert [instance.id for instance in up.instances["quiet"]] == ["quiet-1"]


async def test_two_versions_of_a_service_run_side_by_side(up: Embedded, data: Path) -> None:
    running = Running.find(data)

    await asyncio.to_thread(running.change, "/api/scale/quiet@v2/2")
    status = await asyncio.to_thread(running.change, "/api/scale/quiet/2")
    told = [json.loads((data / "logs" / f"quiet-{n}.log").read_text()) for n in (1, 2, 3, 4)]
    rest = await asyncio.to_thread(running.change, "/api/scale/quiet@v2/0")

    def versions(status: dict[str, Any]) -> list[str]:
        return [instance["version"] for instance in status["services"][0]["instances"]]

    assert versions(status) == ["7", "v2", "v2", "7"]
    assert [each["MESH_VERSION"] for each in told] == ["7", "v2", "v2", "7"]
    assert versions(rest) == ["7", "7"]


async def test_nats_is_started_again_where_it_was(up: Embedded) -> None:
    nats = up.instances["nats"][0]
    assert nats.pid is not None

    os.kill(nats.pid, signal.SIGKILL)
    async with asyncio.timeout(30):
        while nats.restarts == 0 or nats.state is not State.READY:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    assert nats.address == f"{LOOPBACK}:{up.ports.nats}"


async def test_only_one_supervisor_keeps_its_data_in_a_directory(
    up: Embedded, project: Project, data: Path
) -> None:
    with pytest.raises(Problem, match="it is up already"):
        await Embedded(project, data, Ports.free()).up()

    assert Running.find(data).pid == os.getpid()


async def test_after_the_end_nothing_is_left(project: Project, data: Path) -> None:
    before = brokers()
    embedded = Embedded(project, data, Ports.free())
    await embedded.up()
    assert brokers() > before

    await embedded.down()

    assert brokers() == before
    with pytest.raises(Problem, match="not running"):
        Running.find(data)


async def test_a_taken_port_stops_the_start_before_anything_runs(
    project: Project, data: Path
) -> None:
    ports = Ports.free()
    with socket.socket() as listener:
        listener.bind((LOOPBACK, ports.rest))
        listener.listen(1)
        embedded = Embedded(project, data, ports)

        with pytest.raises(Problem, match=rf"port {ports.rest} \(rest\) is taken"):
            await embedded.up()

    assert embedded.instances == {}


def brokers() -> set[psutil.Process]:
    """The brokers that this process started, by whatever way, and that still run."""
    children = psutil.Process().children(recursive=True)
    running = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return {child for child in running if "nats-server" in " ".join(child.cmdline())}
