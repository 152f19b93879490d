"""What the commands on events ask: NATS itself, and the services, as the mesh's operator."""

from __future__ import annotations

import asyncio
import getpass
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.supervisor.problem import NOT_RUNNING, USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from mesh.events.jetstream import Connection

__all__ = ["Desk", "actor", "quiet_asyncio", "with_nats"]

T = TypeVar("T")

PATIENCE_S = 5.0
STREAM_PATIENCE_S = 3_600.0
SERVICE = "EventsService"


class Desk:
    """The operator's desk: the services of what is up, asked by `meshapi.v1.EventsService`."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.running = Running.find(data_dir(project.root))

    def learn(self) -> None:
        """Imports every contract, so that events of any type can be decoded."""
        generated = self.project.root / "protos/gen"
        for package in self.project.contracts:
            for path in sorted((generated / package).rglob("*_pb2.py")):
                importlib.import_module(_module_of(path, generated))

    def service_of(self, subscription: str) -> str:
        """Finds whose a subscription is: its name begins with the service's."""
        fits = [each for each in self.project.services if subscription.startswith(f"{each}-")]
        if not fits:
            known = ", ".join(each for each in self.project.services if each != self.project.edge)
            what = f"no subscription is named {subscription}"
            why = f"a name begins with its service: {known}"
            raise Problem(what, why, f"./{self.project.name} events ls", USAGE)
        return max(fits, key=len)

    def ask(self, service: str, method: str, request: Message) -> Any:
        """Asks a service. Raises Problem with the error that it raised."""
        from mesh.cli.calls import ask
        from meshapi.v1 import events_pb2

        found = events_pb2.DESCRIPTOR.services_by_name[SERVICE].methods_by_name[method]
        return ask(self.running, service, found, request)

    def follow(self, service: str, method: str, request: Message) -> Iterator[Any]:
        """Asks a service for a stream of answers. To stop reading ends the work."""
        import grpc
        from google.protobuf.message_factory import GetMessageClass

        from mesh.cli.calls import joined
        from mesh.rpc.status import error_of
        from meshapi.v1 import events_pb2

        joined(self.running)
        found = events_pb2.DESCRIPTOR.services_by_name[SERVICE].methods_by_name[method]
        answer: Any = GetMessageClass(found.output_type)
        path = f"/{found.containing_service.full_name}/{found.name}"
        with grpc.secure_channel(f"xds:///{service}", grpc.xds_channel_credentials()) as channel:
            invoke: Any = channel.unary_stream(
                path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=answer.FromString,
            )
            call = invoke(request, timeout=STREAM_PATIENCE_S)
            try:
                yield from call
            except grpc.RpcError:
                error = error_of(call)
                what = f"{method} answers {call.code().name} {error.reason}"
                remedy = f"./{self.project.name} logs {service}"
                raise Problem(what, error.message, remedy) from None
            finally:
                call.cancel()


def _module_of(path: Path, generated: Path) -> str:
    return ".".join(path.relative_to(generated).with_suffix("").parts)


def actor() -> str:
    """Who types the command, for the history."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def with_nats(running: Running, use: Callable[[Connection], Awaitable[T]]) -> T:
    """Connects to NATS, and asks it something. Raises Problem if it does not answer."""
    return asyncio.run(_with_nats(running, use))


def quiet_asyncio() -> None:
    """Has asyncio not warn of the way in which nats-py goes over to TLS, which does no harm."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)


async def _with_nats(running: Running, use: Callable[[Connection], Awaitable[T]]) -> T:
    from mesh.cli.control import OPERATOR, operator_identity
    from mesh.errors import Transient
    from mesh.events.jetstream import ApiError, Jetstream
    from mesh.supervisor.nats import nats_url

    quiet_asyncio()
    jetstream = Jetstream(
        nats_url(running.data, running.endpoints.nats, OPERATOR),
        service=OPERATOR,
        roots=operator_identity(running).roots,
    )
    await jetstream.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            connection = await jetstream.connection()
        return await use(connection)
    except TimeoutError:
        why = f"{running.endpoints.nats}: {jetstream.missing()}"
        raise Problem("NATS does not answer", why, "./bank status", NOT_RUNNING) from None
    except (Transient, ApiError) as error:
        raise Problem("NATS refuses", str(error), "./bank events ls") from None
    finally:
        await jetstream.stop()
