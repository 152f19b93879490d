"""A process's leases: one with each replica of the control plane.

The control plane is a name, and each address behind it is a replica; or several names, each of a
replica. Replicas share the authority and the bucket of the policy: each knows every instance,
because every instance is registered with each, so any of them can answer any client. A client stays
with one, and goes to the next when that one dies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import grpc

from mesh.xds.lease import Lease
from meshapi.v1 import registry_pb2 as pb

__all__ = ["Leases"]

_LOOK_UP_S = 5.0
_SOON_S = 0.5


class Leases:
    """Keeps one instance registered with all replicas of a control plane at `host:port`, or at
    several of that, with commas between.
    """

    def __init__(
        self,
        addresses: str,
        credentials: Callable[[], grpc.ChannelCredentials],
        measure: Callable[[pb.RegisterResponse], pb.Measured] | None = None,
    ) -> None:
        self._named = [each.strip().rpartition(":")[::2] for each in addresses.split(",")]
        self._credentials = credentials
        self._measure = measure
        self._leases: dict[str, Lease] = {}
        self._problem = "not registered yet"
        self._failing = False

    @property
    def problem(self) -> str:
        """What is in the way, in words; empty as soon as one replica holds the instance."""
        if self.registered:
            return ""
        problems = dict.fromkeys(lease.problem for lease in self._leases.values())
        return self._problem or "; ".join(problems)

    @property
    def registered(self) -> bool:
        """Whether a replica holds the instance now."""
        return any(lease.registered for lease in self._leases.values())

    async def keep(self, instance: pb.Instance, methods: Sequence[pb.MethodRoute]) -> None:
        """Keeps the instance registered, for ever. Cancel it to withdraw the instance.

        Raises what broke a lease.
        """
        keeping: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                found = await self._replicas()
                for address in found.keys() - keeping.keys():
                    lease = Lease(address, self._credentials, found[address], self._measure)
                    lease.judge(failing=self._failing)
                    self._leases[address] = lease
                    keeping[address] = asyncio.create_task(lease.keep(instance, methods))
                # One that is no longer named goes when it no longer answers either.
                for address in keeping.keys() - found.keys():
                    if not self._leases[address].registered:
                        keeping.pop(address).cancel()
                        del self._leases[address]
                await asyncio.sleep(_LOOK_UP_S if found else _SOON_S)
        finally:
            for task in keeping.values():
                task.cancel()
            await asyncio.gather(*keeping.values(), return_exceptions=True)

    def judge(self, *, failing: bool) -> None:
        """Says whether the instance fails too many calls."""
        self._failing = failing
        for lease in self._leases.values():
            lease.judge(failing=failing)

    async def drain(self, timeout_s: float) -> bool:
        """Takes the instance out of use; tells whether all clients of all live replicas know."""
        live = [lease for lease in self._leases.values() if lease.registered]
        return all(await asyncio.gather(*(lease.drain(timeout_s) for lease in live)))

    async def _replicas(self) -> dict[str, str]:
        """Looks the names up: addresses, each with the host that its certificate names."""
        found: dict[str, str] = {}
        self._problem = ""
        for host, port in self._named:
            for address in await self._addresses(host.strip("[]"), port):
                found.setdefault(address, host.strip("[]"))
        return found

    async def _addresses(self, host: str, port: str) -> set[str]:
        """Looks a name up; what was known before counts where that does not work."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                host, int(port), type=socket.SOCK_STREAM
            )
        except OSError as error:
            self._problem = f"{host}: {error.strerror}"
            return {each for each, lease in self._leases.items() if lease.server_name == host}
        hosts = {str(where[0]) for _, _, _, _, where in found}
        return {f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts}
