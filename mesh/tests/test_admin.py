from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from mesh.admin import Admin, Readiness, host_and_port


class Page:
    """An admin page whose database may be away."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        pages = {b"/debug/x": lambda: b"[1]"}
        self.admin = Admin(self.readiness, lambda accept: (accept or "text", b"a_total 1\n"), pages)
        self.problem = ""
        self.port = 0
        self.readiness.needs("database", lambda: self.problem)
        self.readiness.needs("events", lambda: ["nats: away"] if self.problem else [])

    async def ask(self, raw: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            answer = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body

    async def get(self, path: str) -> tuple[int, bytes]:
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    page = Page()
    page.port = await page.admin.start("127.0.0.1:0")
    yield page
    await page.admin.stop()


async def test_a_ready_process_says_so(page: Page) -> None:
    status, body = await page.get("/readyz")

    assert status == 200
    assert json.loads(body) == {"ready": True, "missing": []}


async def test_a_process_that_misses_something_is_live_and_says_what(page: Page) -> None:
    page.problem = "locked"
    status, body = await page.get("/readyz")

    assert (await page.get("/livez"))[0] == 200
    assert status == 503
    assert json.loads(body) == {"ready": False, "missing": ["database: locked", "nats: away"]}


async def test_metrics_are_served(page: Page) -> None:
    assert await page.get("/metrics?all=1") == (200, b"a_total 1\n")


async def test_what_is_told_of_the_core_is_served(page: Page) -> None:
    assert await page.get("/debug/x") == (200, b"[1]")


async def test_nothing_else_is(page: Page) -> None:
    assert (await page.get("/"))[0] == 404
    assert (await page.ask(b"POST /livez HTTP/1.1\r\n\r\n"))[0] == 405


@pytest.mark.parametrize("nonsense", [b"\r\n\r\n", b"GET\r\n\r\n", b"x" * 20_000 + b"\r\n\r\n"])
async def test_nonsense_harms_nobody(page: Page, nonsense: bytes) -> None:
    assert (await page.ask(nonsense))[0] in (0, 404, 405)
    assert (await page.get("/livez"))[0] == 200


def test_addresses_are_a_host_and_a_port() -> None:
    assert host_and_port("127.0.0.1:80") == ("127.0.0.1", 80)
    assert host_and_port("[::1]:80") == ("::1", 80)
    with pytest.raises(ValueError, match="invalid literal"):
        host_and_port("localhost")


async def test_who_asks_for_metrics_says_how_they_are_written(page: Page) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
    writer.write(b"GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert b"Content-Type: application/openmetrics-text\r\n" in answer
