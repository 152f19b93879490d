"""The PostgreSQL of the embedded profile: real, with a database that is each service's alone."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from mesh.supervisor.postgres import Cluster
from mesh.supervisor.process import Instance

SERVICES = ("accounts", "pix")


@pytest.fixture
def data() -> Iterator[Path]:
    # Not pytest's own folder, which nobody but its owner may pass.
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    yield folder
    shutil.rmtree(folder)


async def started(cluster: Cluster, data: Path) -> Instance:
    instance = Instance(cluster.program(), "postgres-1", data / "log", data)
    await instance.start()
    await instance.until_ready()
    return instance


async def test_each_service_has_a_database_that_outlives_the_server_and_no_other_may_open(
    data: Path,
) -> None:
    cluster = Cluster(data, SERVICES)
    server = await started(cluster, data)
    own = await asyncpg.connect(cluster.url_of("pix"))
    await own.execute("CREATE TABLE kept (id int)")
    await own.close()

    foreign = cluster.url_of("pix").rpartition("/")[0] + "/accounts"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(foreign)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(cluster.url_of("pix").replace(":", ":x", 2).replace("x//", "//"))
    await server.stop()

    cluster = Cluster(data, SERVICES)
    server = await started(cluster, data)
    own = await asyncpg.connect(cluster.url_of("pix"))
    assert await own.fetchval("SELECT count(*) FROM kept") == 0
    await own.close()
    await server.stop()
