"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from mesh.chassis import Chassis, Service
from mesh.clock import now_us
from mesh.saga.runner import Saga

from . import handlers, returns, returns_store, sandbox, store
from .api import PixApi
from .clients import AccountsLedger, NoRail, OurAccounts
from .rail import Messages, Rail
from .receipts_api import ReceiptsApi
from .saga import credit_deposit, deliver_payment
from .sandbox import Sandbox
from .sandbox_api import SandboxApi


def build(chassis: Chassis) -> Service:
    stub = chassis.stub(AccountsServiceStub, "accounts")
    played = Sandbox(chassis.transact, chassis.read)
    rail: Rail = NoRail() if chassis.settings.is_production else played

    async def registered(key: str) -> str:
        return await chassis.read(store.account_of_key, key)

    return Service(
        name="pix",
        api=[
            PixApi(chassis, OurAccounts(stub, registered)),
            ReceiptsApi(chassis),
            SandboxApi(chassis, played),
        ],
        projections=[handlers.COPIES],
        sagas=list(sagas(chassis, AccountsLedger(stub), Messages(rail))),
    )


def sagas(chassis: Chassis, ledger: AccountsLedger, messages: Messages) -> Iterator[Saga[Any]]:
    async def play(played: sandbox.PlayedReturn) -> None:
        await chassis.transact(returns_store.keep_played, played, now_us())

    yield Saga(
        name=store.DELIVER_PAYMENT,
        run=partial(deliver_payment, ledger=ledger, messages=messages),
        load=store.get_payment,
        finish=store.finish_payment,
    )
    yield Saga(
        name=store.CREDIT_DEPOSIT,
        run=partial(credit_deposit, ledger=ledger, messages=messages),
        load=store.get_deposit,
        finish=store.finish_deposit,
    )
    yield Saga(
        name=returns_store.GIVE_BACK,
        run=partial(returns.give_back, ledger=ledger, messages=messages),
        load=returns_store.get,
        finish=returns_store.finish_out,
    )
    yield Saga(
        name=returns_store.TAKE_BACK,
        run=partial(returns.take_back, ledger=ledger, messages=messages),
        load=returns_store.get,
        finish=returns_store.finish_in,
    )
    yield Saga(
        name=sandbox.PLAY_RETURN,
        run=partial(sandbox.play_return, give=play),
        load=sandbox.get_played_return,
        finish=sandbox.end_played_return,
    )
