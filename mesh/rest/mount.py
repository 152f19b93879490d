"""Mounts contracts: every method that has a route, behind one application."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mesh.auth.exchange import Exchange
from mesh.auth.usage import Usage
from mesh.rest.binding import Binding, bindings
from mesh.rest.edge import Answer, Call, Edge, json_response
from mesh.rest.openapi import openapi
from mesh.rest.rates import Addresses, Rates
from meshapi.v1.tokens_pb2_grpc import TokenExchangeServiceStub

if TYPE_CHECKING:
    from mesh.chassis import Chassis

__all__ = ["mount"]

StubClass = Callable[[grpc.aio.Channel], Any]

DOCS = Path(__file__).with_name("docs.html")


def mount(
    chassis: Chassis,
    stubs: Sequence[tuple[str, StubClass]],
    *,
    title: str,
    routes: Sequence[tuple[str, Answer]] = (),
) -> Starlette:
    """Makes the application that serves every route of the stubs' contracts.

    `stubs` pairs a service's name with a generated stub class of its contract. `routes` are
    answered by the caller itself. Beside them stand `/openapi.json`, `/docs`, `/healthz` and
    `/readyz`. Sandbox methods are mounted only outside production.
    """
    calls = list(_calls(chassis, stubs))
    document = openapi(title, chassis.settings.version, [binding for binding, _ in calls])
    page = DOCS.read_text()

    async def described(request: Request) -> Response:
        return json_response(document)

    async def documented(request: Request) -> Response:
        return HTMLResponse(page)

    async def alive(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def ready(request: Request) -> Response:
        missing = chassis.missing()
        return json_response({"ready": not missing, "missing": missing}, 503 if missing else 200)

    pages = [
        ("/openapi.json", described),
        ("/docs", documented),
        ("/healthz", alive),
        ("/readyz", ready),
    ]
    issuer = chassis.stub(TokenExchangeServiceStub, chassis.settings.token_issuer_service)
    return Edge(
        calls,
        Exchange(issuer.ExchangeToken),
        Usage(issuer.CountUses),
        Rates(chassis.settings.rate_scale),
        Addresses(chassis.settings.trusted_proxies),
        routes,
        pages,
    ).app()


def _calls(
    chassis: Chassis, stubs: Sequence[tuple[str, StubClass]]
) -> Iterator[tuple[Binding, Call]]:
    with_sandbox = not chassis.settings.is_production
    for service, stub_class in stubs:
        stub = chassis.stub(stub_class, service)
        for binding in bindings([_descriptor(stub_class)], with_sandbox=with_sandbox):
            yield binding, getattr(stub, binding.method.name)


def _descriptor(stub_class: StubClass) -> ServiceDescriptor:
    """Finds the contract of a stub: `x_pb2_grpc.XServiceStub` is of `XService` in `x_pb2`."""
    messages: Any = sys.modules[stub_class.__module__.removesuffix("_grpc")]
    name = getattr(stub_class, "__name__", "").removesuffix("Stub")
    descriptor: ServiceDescriptor = messages.DESCRIPTOR.services_by_name[name]
    return descriptor
