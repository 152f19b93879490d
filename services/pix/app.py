"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceStub
from bank.users.v1.holders_pb2_grpc import HoldersServiceStub
from mesh.chassis import Chassis, Service
from mesh.clock import now_us
from mesh.saga.runner import Saga

from . import handlers, saga, sandbox
from .api.codes import CodesApi
from .api.keys import KeysApi
from .api.payments import PixApi
from .api.played_directory import DirectorySandboxApi
from .api.played_rail import SandboxApi
from .api.receipts import ReceiptsApi
from .api.settlement import SettlementApi
from .checks import Settlements, checks
from .clients import AccountsLedger, Clearing, NoRail, OurAccounts, Users
from .domain.rail import Messages, Rail
from .sandbox import Sandbox
from .signing import PixSettings, Signer
from .store import claims, keys, payments, returns


def build(chassis: Chassis) -> Service:
    stub = chassis.stub(AccountsServiceStub, "accounts")
    played = Sandbox(chassis.transact, chassis.read)
    rail: Rail = NoRail() if chassis.settings.is_production else played

    async def registered(key: str) -> str:
        return await chassis.read(keys.account_of_key, key)

    accounts = OurAccounts(stub, registered)
    users = Users(chassis.stub(HoldersServiceStub, "users"))
    settlements = Settlements(chassis, rail, Clearing(chassis.stub(LedgerServiceStub, "accounts")))
    return Service(
        name="pix",
        api=[
            PixApi(chassis, accounts),
            KeysApi(chassis, users, rail, accounts),
            CodesApi(chassis, users, Signer(chassis.transact, chassis.read, PixSettings().host)),
            ReceiptsApi(chassis),
            SettlementApi(settlements),
            SandboxApi(chassis, played),
            DirectorySandboxApi(chassis, played),
        ],
        projections=[handlers.COPIES],
        checks=checks(settlements),
        sagas=[*sagas(chassis, AccountsLedger(stub), Messages(rail)), *claim_sagas()],
    )


def claim_sagas() -> Iterator[Saga[Any]]:
    ends = {
        claims.ACKNOWLEDGE_CLAIM: claims.acknowledge,
        claims.RESOLVE_CLAIM: claims.resolve,
        claims.LAPSE_CLAIM: claims.lapse,
    }
    for name, finish in ends.items():
        yield Saga(name=name, run=saga.wait, load=claims.load, finish=finish)


def sagas(chassis: Chassis, ledger: AccountsLedger, messages: Messages) -> Iterator[Saga[Any]]:
    async def play(played: sandbox.PlayedReturn) -> None:
        await chassis.transact(returns.keep_played, played, now_us())

    yield Saga(
        name=payments.DELIVER_PAYMENT,
        run=partial(saga.deliver_payment, ledger=ledger, messages=messages),
        load=payments.get_payment,
        finish=payments.finish_payment,
    )
    yield Saga(
        name=payments.CREDIT_DEPOSIT,
        run=partial(saga.credit_deposit, ledger=ledger, messages=messages),
        load=payments.get_deposit,
        finish=payments.finish_deposit,
    )
    yield Saga(
        name=returns.GIVE_BACK,
        run=partial(saga.give_back, ledger=ledger, messages=messages),
        load=returns.get,
        finish=returns.finish_out,
    )
    yield Saga(
        name=returns.TAKE_BACK,
        run=partial(saga.take_back, ledger=ledger, messages=messages),
        load=returns.get,
        finish=returns.finish_in,
    )
    yield Saga(
        name=sandbox.PLAY_RETURN,
        run=partial(sandbox.play_return, give=play),
        load=sandbox.get_played_return,
        finish=sandbox.end_played_return,
    )
