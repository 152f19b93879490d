from __future__ import annotations

import asyncio
from pathlib import Path

from .processes import eventually, get, mesh_in


async def test_a_process_alone_is_live_and_says_what_it_misses(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        accounts = mesh.service("accounts")

        async def waits_for_identity() -> bool:
            missing = (await accounts.readiness())["missing"]
            return any(each.startswith("identity: UNAVAILABLE") for each in missing)

        await eventually(waits_for_identity)
        live, _ = await get(accounts.admin, "/livez")
        not_ready, _ = await get(accounts.admin, "/readyz")
        metrics, text = await get(accounts.admin, "/metrics")
        missing = (await accounts.readiness())["missing"]
        code = await accounts.terminate()

    assert (live, not_ready, metrics) == (200, 503, 200)
    assert "process_cpu_seconds_total" in text
    assert {each.partition(":")[0] for each in missing} == {"identity", "nats"}
    assert code == 0


async def test_a_process_that_cannot_open_its_database_is_live_and_ends_well(
    tmp_path: Path,
) -> None:
    async with mesh_in(tmp_path) as mesh:
        accounts = mesh.service(
            "accounts", MESH_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none"
        )

        async def waits_for_the_database() -> bool:
            missing = (await accounts.readiness())["missing"]
            return any(each.startswith("database: ") for each in missing)

        await eventually(waits_for_the_database)
        assert await accounts.terminate() == 0


async def test_a_port_that_is_taken_ends_the_process_with_a_failure(tmp_path: Path) -> None:
    async with mesh_in(tmp_path) as mesh:
        first = mesh.service("edge")
        await eventually(lambda: _listens(first.http))
        second = mesh.service("edge", MESH_HTTP_LISTEN=f"127.0.0.1:{first.http}")

        assert await asyncio.to_thread(second.process.wait, 20) == 1
        assert b"the process cannot go on" in second.log.read_bytes()


async def _listens(port: int) -> bool:
    await get(port)
    return True


async def test_services_find_each_other_and_a_drained_one_finishes_what_it_has(
    tmp_path: Path,
) -> None:
    async with mesh_in(tmp_path) as mesh:
        edge = mesh.service("edge")
        await eventually(lambda: _listens(edge.http))
        assert (await get(edge.http))[0] == 503  # Nobody is there yet.
        mesh.control_plane()
        accounts = mesh.service("accounts", MESH_DEBUG_SERVICES="true")
        await accounts.ready()
        await edge.ready()

        async def answers() -> bool:
            return await get(edge.http) == (200, "edge")

        await eventually(answers)
        slow = asyncio.create_task(get(edge.http, "/?0.5"))
        await asyncio.sleep(0.1)
        code = await accounts.terminate()
        assert await slow == (200, "edge")
        assert code == 0

        again = mesh.service("accounts")
        await again.ready()
        await eventually(answers)
        assert await edge.terminate() == 0
        assert await again.terminate() == 0
        assert b'"level":"error"' not in again.log.read_bytes() + edge.log.read_bytes()
