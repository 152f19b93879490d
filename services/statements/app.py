"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from bank.accounts.v1.ledger_pb2_grpc import LedgerServiceStub
from bank.users.v1.holders_pb2_grpc import HoldersServiceStub
from mesh.chassis import Chassis, Service

from . import handlers
from .api import StatementsApi
from .checks import checks
from .clients import Holders, Ledger
from .domain import Arrivals


def build(chassis: Chassis) -> Service:
    arrivals = Arrivals()
    holders = Holders(chassis.stub(HoldersServiceStub, "users"))
    ledger = Ledger(chassis.stub(LedgerServiceStub, "accounts"))
    return Service(
        name="statements",
        api=[StatementsApi(chassis, arrivals, holders)],
        projections=[handlers.lines(arrivals)],
        checks=checks(chassis, ledger),
    )
