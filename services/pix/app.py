"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from mesh.chassis import Chassis, Service
from mesh.saga.runner import Saga

from . import store
from .api import PixApi
from .clients import AccountsLedger, Sandbox
from .saga import credit_deposit, deliver_payment


def build(chassis: Chassis) -> Service:
    ledger = AccountsLedger(chassis.stub(AccountsServiceStub, "accounts"))
    return Service(
        name="pix",
        api=[PixApi(chassis, ledger)],
        sagas=[
            Saga(
                name=store.DELIVER_PAYMENT,
                run=partial(deliver_payment, ledger=ledger, outside=Sandbox()),
                load=store.get_payment,
                finish=store.finish_payment,
            ),
            Saga(
                name=store.CREDIT_DEPOSIT,
                run=partial(credit_deposit, ledger=ledger),
                load=store.get_deposit,
                finish=store.finish_deposit,
            ),
        ],
    )
