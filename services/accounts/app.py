"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from mesh.chassis import Chassis, Service

from . import facts, handlers, store
from .api import AccountsApi, LedgerApi
from .checks import checks
from .domain.books import Recent


def build(chassis: Chassis) -> Service:
    recent = Recent()
    counter = store.Counter(chassis.together(partial(store.settle, recent=recent)))
    return Service(
        name="accounts",
        api=[AccountsApi(chassis, counter), LedgerApi(chassis, counter)],
        projections=[handlers.MEMBERS],
        reactions=[handlers.OPENING],
        checks=checks(chassis, recent),
        facts=facts.FACTS,
        background=[partial(handlers.release_expired_holds, chassis, counter)],
    )
