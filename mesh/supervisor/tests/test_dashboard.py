from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from mesh.supervisor.dashboard import Dashboard
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.ports import LOOPBACK, Ports
from mesh.supervisor.project import Project

TOKEN = "the token"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    project = Project(
        name="bank", version="1", root=tmp_path, services=["transfers", "bff"], edge="bff"
    )
    ports = Ports.free()
    dashboard = Dashboard(Embedded(project, tmp_path, ports), ports.dashboard, TOKEN)
    await dashboard.start()
    transport = httpx2.AsyncHTTPTransport(retries=20)
    base = f"http://{LOOPBACK}:{ports.dashboard}"
    async with httpx2.AsyncClient(base_url=base, transport=transport) as client:
        yield client
    await dashboard.stop()


async def test_the_status_has_the_documented_shape(client: httpx2.AsyncClient) -> None:
    status = (await client.get("/api/status")).json()

    assert status["profile"] == "embedded"
    assert status["services"][0] == {"name": "transfers", "version": "1", "instances": []}
    assert set(status["endpoints"]) == {"rest", "dashboard", "traces", "otlp", "nats", "xds"}


async def test_the_page_is_served(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")

    assert page.status_code == 200
    assert "<title>bank</title>" in page.text


async def test_without_a_control_plane_the_map_is_empty(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/edges")

    assert answer.status_code == 503
    assert answer.json() == {"edges": [], "window_s": 0.0}


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer guessed"}])
async def test_nothing_is_changed_without_the_token(
    client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    assert (await client.post("/api/restart/transfers", headers=headers)).status_code == 401


async def test_what_is_not_there_cannot_be_restarted(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/api/restart/loans", headers={"authorization": f"Bearer {TOKEN}"})

    assert answer.status_code == 404
    assert answer.json()["what"] == "there is no loans"


async def test_a_foreign_host_name_is_refused(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/api/status", headers={"host": "attacker.example"})

    assert answer.status_code == 400
