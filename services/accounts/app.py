"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from mesh.chassis import Chassis, Service

from . import handlers, store
from .api import AccountsApi, LedgerApi


def build(chassis: Chassis) -> Service:
    counter = store.Counter(chassis.together(store.settle))
    return Service(
        name="accounts",
        api=[AccountsApi(chassis, counter), LedgerApi(chassis, counter)],
        projections=[handlers.MEMBERS],
        reactions=[handlers.OPENING],
        background=[partial(handlers.release_expired_holds, chassis, counter)],
    )
