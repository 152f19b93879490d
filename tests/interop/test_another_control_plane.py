"""Our services and callers with a control plane of other people's (go-control-plane), by settings
alone. No control plane of ours runs here.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mesh.identity.files import issue_files
from mesh.identity.spiffe import spiffe_id
from tests.faults.world import Started, World, ready, serving, world_in

from .go_program import go_program

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
PROVIDER = "theirs"


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_program(HERE / "xds", tmp_path_factory.mktemp("xds"))


def given(world: World, workload: str, folder: Path) -> str:
    """Certificates and a bootstrap, as that other mesh would hand them out; gives the latter."""
    issue_files(world.data_dir, workload, folder)
    files = {
        "certificate_file": str(folder / "cert.pem"),
        "private_key_file": str(folder / "key.pem"),
        "ca_certificate_file": str(folder / "bundle.pem"),
    }
    told = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{world.ports[0]}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": folder.name},
        "certificate_providers": {PROVIDER: {"plugin_name": "file_watcher", "config": files}},
    }
    bootstrap = folder / "theirs.json"
    bootstrap.write_text(json.dumps(told))
    return str(bootstrap)


async def guest(world: World, name: str) -> Started:
    folder = world.folder / f"given-{name}"
    return await world.backend(
        name,
        GRPC_XDS_BOOTSTRAP=given(world, "accounts", folder),
        MESH_CONTROL_PLANE="",
        MESH_IDENTITY="",
        MESH_IDENTITY_DIR=str(folder),
    )


async def test_services_and_callers_follow_go_control_plane_by_settings_alone(
    tmp_path: Path, plane: Path
) -> None:
    async with world_in(tmp_path) as world:
        guests = [await guest(world, name) for name in "ab"]
        for each in guests:
            await ready(each)
        addresses = [await serving(each) for each in guests]
        theirs = await asyncio.create_subprocess_exec(
            plane, str(world.ports[0]), "accounts", PROVIDER, spiffe_id("accounts"), *addresses
        )
        try:
            bootstrap = given(world, "edge", tmp_path / "edge" / "identity")
            driver = await world.driver(name="edge", bootstrap=bootstrap)
            answers = [await driver.do("ask") for _ in range(10)]
            # They call each other by it too: six hops, each with less time than the one before.
            hops = (await driver.do("ask", what="hops:5"))["answer"].split()
        finally:
            theirs.kill()
            await theirs.wait()

    assert {each.get("answer") for each in answers} == {"a", "b"}
    assert len(hops) == 6
