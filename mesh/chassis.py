"""What a service declares of itself, and what it is given in return.

A service is one function, `build(chassis) -> Service`, and its process is `mesh.run.main`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar

import grpc.aio

from mesh.db import Database, Together, UnitOfWork
from mesh.db.together import GroupUnit
from mesh.noting import note, noting
from mesh.rpc.client import Channels, make_stub
from mesh.settings import Settings

if TYPE_CHECKING:
    from mesh.checks import Check
    from mesh.events import Projection, Reaction
    from mesh.events.backfill import Facts
    from mesh.saga.runner import Saga

__all__ = ["Build", "Chassis", "Sagas", "Service"]

A = TypeVar("A")
O = TypeVar("O")  # noqa: E741
P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service: what it serves, what it hears, what it carries through.

    `api` are servicers, each registered under the contracts whose generated base class it has.
    `checks` must always be true of its rows. `facts` are those that it can tell again from its
    tables, for readers whose stream has lost its beginning. `http` is an ASGI application, for the
    edge. `background` are coroutines that run as long as the process; the end of one is the end of
    the process.
    """

    name: str
    api: Sequence[object] = ()
    projections: Sequence[Projection] = ()
    reactions: Sequence[Reaction] = ()
    sagas: Sequence[Saga[Any]] = ()
    checks: Sequence[Check] = ()
    facts: Sequence[Facts] = ()
    http: Callable[..., Awaitable[None]] | None = None
    background: Sequence[Callable[[], Awaitable[None]]] = ()


class Sagas(Protocol):
    """What the chassis needs of whoever runs the sagas."""

    def admit(self) -> None: ...
    async def wait(self, saga: str, entity_id: str, seconds: float) -> Any: ...


class Chassis:
    """What a service stands on. It is given to `build`, before anything of the service runs."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        channels: Channels,
        missing: Callable[[], list[str]],
    ) -> None:
        self.settings = settings
        self.missing = missing
        self._database = database
        self._channels = channels
        self._sagas: Sagas | None = None

    async def transact(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Runs a unit of work, and answers once it is committed (see `mesh.db.Database`).

        What it tells goes into the answer to the call that is being answered, if there is one.
        """
        return await noting(self._database, unit, *args, **kwargs)

    async def read(
        self,
        unit: Callable[Concatenate[UnitOfWork, P], Awaitable[T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Runs a unit that only reads, from one snapshot."""
        return await self._database.read(unit, *args, **kwargs)

    def together(self, unit: GroupUnit[O, A]) -> Together[O, A]:
        """Has orders of many callers carried out by one unit of work (`mesh.db.together`).

        What becomes of an order goes into the answer to its call, as with `transact`.
        """
        return Together(self._database, unit, note)

    def stub(self, stub_class: Callable[[grpc.aio.Channel], S], service: str) -> S:
        """Makes a stub of a generated class, whose methods ask a service by its name.

        A method gives the response or raises the error that the server raised (`mesh.errors`).
        Deadline, trace and identity are added to each call, and the user's token where the
        contract asks for a user.
        """
        return make_stub(stub_class, service, self._channels)

    def admit(self) -> None:
        """Raises `Overloaded` when so many sagas are unfinished that no more should be started."""
        if self._sagas is not None:
            self._sagas.admit()

    async def wait_for(self, saga: str, entity_id: str, seconds: float) -> Any:
        """Waits for the end of a saga; gives its entity if that came in time, otherwise None."""
        if self._sagas is None:
            raise RuntimeError("The service declares no sagas.")
        return await self._sagas.wait(saga, entity_id, seconds)

    def runs(self, sagas: Sagas) -> None:
        """Says who runs the sagas. Called by the process, after `build`."""
        self._sagas = sagas


Build = Callable[[Chassis], Service]
