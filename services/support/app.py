"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service
from mesh.saga.runner import Saga

from . import handlers, store
from .api import SupportApi
from .saga import watch


def build(chassis: Chassis) -> Service:
    return Service(
        name="support",
        api=[SupportApi(chassis)],
        projections=[handlers.COPIES],
        reactions=[handlers.FORGET],
        sagas=[Saga(name=store.WATCH, run=watch, load=store.load_watch, finish=store.end_watch)],
    )
