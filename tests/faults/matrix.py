"""Every saga of the bank, every moment at which its process may die, and what must be left then.

Each scenario is made once undisturbed. What that leaves behind, in the ledger, on statements, in
streams and with the customer, is what it must leave wherever the process dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx

from tests.e2e.bank import Bank, Customer, brl, eventually

AMOUNT = 100
UNPAYABLE = 40_000_00
PATIENCE_S = 600.0
SEED = 6
SOON_S = 20.0

ACCEPTED = ("as it is accepted", "once it is accepted")
ENDED = ("in the last transaction", "after the end")

MOVE, DELIVER = "move_money", "deliver_payment"


def around(*steps: str) -> tuple[str, ...]:
    return tuple(f"{when} {step}" for step in steps for when in ("before", "after"))


class TooLate(Exception):
    """What was asked for had not been accepted when its time came."""


@dataclass
class Stage:
    """Who pays whom."""

    bank: Bank
    http: httpx.AsyncClient
    payer: Customer
    payee: Customer

    async def post(
        self, who: Customer, path: str, label: str, body: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Posts as a careful app does: the same key until there is an answer."""
        headers = {**who.headers, "Idempotency-Key": label}

        async def answered() -> dict[str, Any] | None:
            try:
                answer = await self.http.post(path, json=body, headers=headers)
            except httpx.TransportError:
                return None
            if answer.status_code == 400 and answer.json()["reason"] == "SCHEDULED_IN_THE_PAST":
                raise TooLate
            assert answer.is_success or answer.status_code in (409, 429, 503, 504), answer.text
            return dict(answer.json()) if answer.is_success else None

        found: dict[str, Any] = await eventually(answered, label, PATIENCE_S)
        return found

    async def pay(self, label: str, payee: Mapping[str, str], **more: Any) -> str:
        body = {
            "payerAccountId": self.payer.account_id,
            "payee": payee,
            "amount": brl(AMOUNT),
            "description": label,
        }
        answer = await self.post(self.payer, "/v1/transfers", label, body | more)
        return str(answer["transfer"]["transferId"])

    async def ended(self, service: str, table: str, found_id: str, state: str) -> None:
        """Waits until a row says that what it stands for has ended so."""
        query = f"SELECT id FROM {table} WHERE id = '{found_id}' AND status = '{state}'"

        async def has() -> bool:
            return bool(await self.bank.query(service, query))

        await eventually(has, f"{table} {found_id} to be {state}", PATIENCE_S)


Act = Callable[[Stage, str], Awaitable[list[str]]]
"""Does what a scenario is about, under a label; gives the ids of all that there is then."""


async def in_house(stage: Stage, label: str) -> list[str]:
    return [await stage.pay(label, {"accountId": stage.payee.account_id})]


async def unpayable(stage: Stage, label: str) -> list[str]:
    payee = {"accountId": stage.payee.account_id}
    return [await stage.pay(label, payee, amount=brl(UNPAYABLE))]


async def scheduled(stage: Stage, label: str) -> list[str]:
    """What was not accepted before its time is asked for anew, for later."""
    payee = {"accountId": stage.payee.account_id}
    while True:
        soon = (datetime.now(UTC) + timedelta(seconds=SOON_S)).isoformat()
        with contextlib.suppress(TooLate):
            return [await stage.pay(label, payee, scheduledFor=soon)]


async def batch(stage: Stage, label: str) -> list[str]:
    line = f"{stage.payee.account_id};1,00;{label}\n"
    body = {
        "payerAccountId": stage.payer.account_id,
        "csv": "favorecido;valor;descrição\n" + 3 * line,
    }
    made = (await stage.post(stage.payer, "/v1/transfer-batches", label, body))["batch"]
    lines = (
        "SELECT transfer_id FROM batch_lines JOIN transfers ON transfers.id = transfer_id"
        f" WHERE batch_lines.batch_id = '{made['batchId']}' AND transfers.status = 'completed'"
    )

    async def all_made() -> list[str]:
        found = [row["transfer_id"] for row in await stage.bank.query("transfers", lines)]
        return found if len(found) == 3 else []

    return [made["batchId"], *await eventually(all_made, f"the lines of {label}", PATIENCE_S)]


async def refund(stage: Stage, label: str) -> list[str]:
    paid = await stage.pay(f"for {label}"[:-1], {"accountId": stage.payee.account_id})
    await stage.ended("transfers", "transfers", paid, "completed")
    answer = await stage.post(stage.payee, f"/v1/transfers/{paid}:refund", label, {})
    return [paid, str(answer["transfer"]["transferId"])]


def by_pix(act: str) -> Act:
    async def pay(stage: Stage, label: str) -> list[str]:
        return [await stage.pay(label, {"pixKey": f"{act}@sandbox.example"})]

    return pay


async def pix_here(stage: Stage, label: str) -> list[str]:
    """Pays a key of ours: the rail is not asked, and there is a deposit at the other end."""
    paid = await stage.pay(label, {"pixKey": stage.payee.account_id})
    query = (
        "SELECT deposits.id FROM deposits JOIN payments USING (end_to_end_id)"
        f" WHERE payments.id = '{paid}'"
    )

    async def other_end() -> list[dict[str, Any]]:
        return await stage.bank.query("pix", query)

    [row] = await eventually(other_end, f"the other end of {label}", PATIENCE_S)
    return [paid, str(row["id"])]


async def deposit(stage: Stage, label: str) -> list[str]:
    body = {"accountId": stage.payee.account_id, "amount": brl(AMOUNT), "description": label}
    made = (await stage.post(stage.payee, "/sandbox/v1/deposits", label, body))["deposit"]
    return [str(made["depositId"])]


async def give_back(stage: Stage, label: str) -> list[str]:
    words = f"for {label}"[:-1]
    body = {"accountId": stage.payee.account_id, "amount": brl(AMOUNT), "description": words}
    came = (await stage.post(stage.payee, "/sandbox/v1/deposits", words, body))["deposit"]
    await stage.ended("pix", "deposits", came["depositId"], "settled")
    path = f"/v1/pix/receipts/{came['endToEndId']}/returns"
    given = (await stage.post(stage.payee, path, label, {}))["pixReturn"]
    return [str(came["depositId"]), str(given["returnId"])]


async def take_back(stage: Stage, label: str) -> list[str]:
    sent = await stage.pay(f"for {label}"[:-1], {"pixKey": "fornecedor@example.com"})
    await stage.ended("transfers", "transfers", sent, "completed")
    path = f"/sandbox/v1/pix/payments/{sent}/returns"
    given = await stage.post(stage.payer, path, label, {})
    return [sent, str(given["returnId"])]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is done, where its sagas are struck, and what it leaves.

    `states` are those of all that there is then, and `moved` what the payer and the payee have
    more or less.
    """

    name: str
    act: Act
    points: Mapping[str, Sequence[str]]
    states: tuple[str, ...]
    moved: tuple[int, int]


OUT_AND_BACK = ("hold", "send", "confirm", "release")
OUT = ("hold", "send", "confirm", "settle")

SCENARIOS = (
    Scenario(
        name="internal",
        act=in_house,
        points={MOVE: (*ACCEPTED, *around("post"), *ENDED)},
        states=("completed",),
        moved=(-AMOUNT, AMOUNT),
    ),
    Scenario(
        name="internal, refused",
        act=unpayable,
        points={MOVE: (*around("post"), *ENDED)},
        states=("failed INSUFFICIENT_FUNDS",),
        moved=(0, 0),
    ),
    Scenario(
        name="scheduled",
        act=scheduled,
        points={MOVE: (*ACCEPTED, *around("begin", "post"), *ENDED)},
        states=("completed",),
        moved=(-AMOUNT, AMOUNT),
    ),
    Scenario(
        name="batch",
        act=batch,
        points={
            "work_through": (*around("make"), *ENDED),
            MOVE: (*ACCEPTED, *around("post"), *ENDED),
        },
        states=("completed",) * 3,
        moved=(-3 * AMOUNT, 3 * AMOUNT),
    ),
    Scenario(
        name="refund",
        act=refund,
        points={MOVE: (*ACCEPTED, *around("post"), *ENDED)},
        states=("completed", "reversed"),
        moved=(0, 0),
    ),
    Scenario(
        name="pix, settled",
        act=by_pix("delay-20"),
        points={
            MOVE: (*ACCEPTED, *around(*OUT), *ENDED),
            DELIVER: (*ACCEPTED, *around("deliver"), *ENDED),
        },
        states=("completed", "settled"),
        moved=(-AMOUNT, 0),
    ),
    Scenario(
        name="pix, rejected",
        act=by_pix("reject-AC03"),
        points={
            MOVE: (*around(*OUT_AND_BACK), *ENDED),
            DELIVER: (*around("deliver"), *ENDED),
        },
        states=("failed AC03", "rejected AC03"),
        moved=(0, 0),
    ),
    Scenario(
        name="pix, time-out then settled",
        act=by_pix("timeout-settled"),
        points={
            MOVE: (*around("send", "confirm", "settle"), *ENDED),
            DELIVER: (*around("deliver", "ask"), *ENDED),
        },
        states=("completed", "settled"),
        moved=(-AMOUNT, 0),
    ),
    Scenario(
        name="pix, time-out then rejected",
        act=by_pix("timeout-rejected-AB09"),
        points={
            MOVE: (*around("send", "confirm", "release"), *ENDED),
            DELIVER: (*around("deliver", "ask"), *ENDED),
        },
        states=("failed AB09", "rejected AB09"),
        moved=(0, 0),
    ),
    Scenario(
        name="pix to an account here",
        act=pix_here,
        points={DELIVER: (*around("credit"), *ENDED)},
        states=("completed", "settled", "settled"),
        moved=(-AMOUNT, AMOUNT),
    ),
    Scenario(
        name="pix received",
        act=deposit,
        points={"credit_deposit": (*ACCEPTED, *around("credit", "accept"), *ENDED)},
        states=("settled",),
        moved=(0, AMOUNT),
    ),
    Scenario(
        name="pix received, given back",
        act=give_back,
        points={"give_back": (*ACCEPTED, *around("hold", "deliver", "give"), *ENDED)},
        states=("settled", "settled"),
        moved=(0, 0),
    ),
    Scenario(
        name="pix sent, given back",
        act=take_back,
        points={"take_back": (*ACCEPTED, *around("credit", "accept"), *ENDED)},
        states=("reversed", "settled", "settled"),
        moved=(0, 0),
    ),
)


@dataclass
class Cell:
    """A scenario whose process dies at one moment; at none in the control.

    `turn` counts those before it that were not struck: another's process died at that moment.
    """

    scenario: Scenario
    saga: str = ""
    moment: str = ""
    turn: int = 0
    ids: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        struck = f"[{self.saga} {self.moment}]" if self.saga else "undisturbed"
        return f"{self.scenario.name} {self.turn or ''}{struck}"


def cells() -> list[Cell]:
    """Every cell; those that kill one service and those that kill the other take turns."""
    found = [
        Cell(scenario, saga, moment)
        for scenario in SCENARIOS
        for saga, moments in scenario.points.items()
        for moment in moments
    ]
    random.Random(SEED).shuffle(found)
    return found


async def play(stage: Stage, played: Sequence[Cell], at_once: int) -> None:
    limit = asyncio.Semaphore(at_once)

    async def one(cell: Cell) -> None:
        async with limit:
            cell.ids = await cell.scenario.act(stage, cell.label)

    await asyncio.gather(*map(one, played))
