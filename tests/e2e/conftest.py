"""The whole bank, started once for all end-to-end tests by the command that users type."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2 as httpx
import pytest

from .bank import Bank
from .starting import a_bank, nothing_has_drifted


@pytest.fixture(scope="session")
def bank() -> Iterator[Bank]:
    with a_bank() as bank:
        yield bank
        nothing_has_drifted(bank.data)


@pytest.fixture
async def http(bank: Bank) -> AsyncIterator[httpx.AsyncClient]:
    async with bank.client() as client:
        yield client
