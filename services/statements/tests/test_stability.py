"""Pages of a statement stay as they are while lines arrive."""

from __future__ import annotations

import asyncio

from .driver import Statements


async def test_pages_read_while_lines_arrive_are_the_statement_as_it_was(
    statements: Statements,
) -> None:
    await statements.post(*range(1, 61))
    arrived = 60

    async def arrive() -> None:
        nonlocal arrived
        while True:
            await statements.post(arrived + 1)
            arrived += 1
            await asyncio.sleep(0.01)

    arriving = asyncio.create_task(arrive())
    try:
        for _ in range(5):
            page = await statements.get(page_size=10)
            first = page.entries[0].version
            versions = [entry.version for entry in page.entries]
            while page.next_page_token:
                page = await statements.get(page_size=10, page_token=page.next_page_token)
                versions += [entry.version for entry in page.entries]
            assert versions == list(range(first, 0, -1))
    finally:
        arriving.cancel()
        await asyncio.gather(arriving, return_exceptions=True)
    assert arrived >= 60
