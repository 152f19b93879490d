"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from mesh.chassis import Chassis, Service
from observability import metrics

from . import handlers
from .api import SupportApi


def build(chassis: Chassis) -> Service:
    settings = chassis.settings
    # The time to the first answer is recorded through the OpenTelemetry API.
    metrics.configure(
        service=settings.service,
        version=settings.version,
        instance=settings.instance_id,
        foreign=True,
    )
    return Service(
        name="support",
        api=[SupportApi(chassis)],
        projections=[handlers.COPIES],
        reactions=[handlers.FORGET],
    )
