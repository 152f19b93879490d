"""The storage of the streams is rolled back by thirty seconds, or lost, while customers pay: one
command for each service restores it, and no balance changes.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from .bank import Bank, Customer, eventually
from .test_events import listed, typed
from .test_faults import books_agree, crowd, pay_until_answered

__all__ = ["crowd"]

pytestmark = [pytest.mark.faults, pytest.mark.timeout(280)]

SECONDS = 30.0
CALLERS = 8
SERVICES = ("users", "accounts", "transfers", "pix")


@pytest.mark.parametrize("loss", ["rolled back", "gone"])
async def test_streams_that_are_rolled_back_or_gone_are_restored_and_no_balance_changes(
    bank: Bank, crowd: list[Customer], tmp_path: Path, loss: str
) -> None:
    store = bank.data / "nats" / "store"
    transfers: list[str] = []
    stop = asyncio.Event()
    paying = asyncio.gather(*(pay(crowd, caller, transfers, stop) for caller in range(CALLERS)))
    await asyncio.sleep(3)

    nats_server(bank).send_signal(signal.SIGSTOP)
    await asyncio.to_thread(shutil.copytree, store, tmp_path / "copy")
    nats_server(bank).send_signal(signal.SIGCONT)
    copied_at, before = time.monotonic(), len(transfers)
    await asyncio.sleep(SECONDS)

    victim = nats_server(bank)
    victim.send_signal(signal.SIGSTOP)
    lost_s, lost = time.monotonic() - copied_at, len(transfers) - before
    store.rename(tmp_path / "original")
    if loss == "rolled back":
        (tmp_path / "copy").rename(store)
    victim.send_signal(signal.SIGKILL)
    await asyncio.sleep(5)
    stop.set()
    await paying
    balances = [await each.balance() for each in crowd]

    async def is_noticed() -> bool:
        problems = {each["service"]: each["problem"] for each in (await listed(bank))["outboxes"]}
        return all("stream" in problems[each] for each in ("accounts", "transfers"))

    await eventually(is_noticed, "the loss to be noticed", 60)
    restored = {each: await reconciled(bank, each) for each in SERVICES}

    await books_agree(bank, crowd, transfers)

    async def is_quiet() -> bool:
        found = await listed(bank)
        behind = [each["lag"] for each in found["subscriptions"]]
        return not any(behind) and not any(each["unsent"] for each in found["outboxes"])

    await eventually(is_quiet, "every event to be heard", 60)
    found = await listed(bank)
    print(
        f"\nstreams {loss} after {lost_s:.0f} s with {lost} payments: {restored} events restored,"
        f" {len(transfers)} payments whole"
    )
    assert [await each.balance() for each in crowd] == balances
    assert restored["accounts"] > lost
    assert not any(each["deadLetters"] for each in found["subscriptions"])


async def pay(
    crowd: list[Customer], caller: int, transfers: list[str], stop: asyncio.Event
) -> None:
    payer, payee = crowd[caller % len(crowd)], crowd[(caller + 1) % len(crowd)]
    while not stop.is_set():
        transfers.append(await pay_until_answered(payer, payee, []))


def nats_server(bank: Bank) -> psutil.Process:
    assert bank.process is not None
    for child in psutil.Process(bank.process.pid).children(recursive=True):
        if any("nats-server" in word for word in child.cmdline()):
            return child
    raise AssertionError("nats-server does not run")


async def reconciled(bank: Bank, service: str) -> int:
    """Types the command; gives how many events it sent again."""
    _, *told = (await typed(bank, "reconcile", service)).splitlines()
    return sum(int(line.split()[4]) for line in told)
