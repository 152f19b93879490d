"""Which port is whose: the defaults, a shift of all of them, or whatever is free."""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from mesh.supervisor.problem import USAGE, Problem

__all__ = ["LOOPBACK", "Ports", "free_port", "must_be_free"]

LOOPBACK = "127.0.0.1"

# Below the range from which Linux takes ports for outgoing connections: between the moment a port
# is found free and the moment its server listens, no client of ours is given it.
FREE_RANGE = range(20_000, 32_000)

# Those who were given these may not listen yet.
_given: deque[int] = deque(maxlen=1_000)


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The ports that others know by number. All else listens where it is free, and registers."""

    rest: int = 8080
    dashboard: int = 8090
    traces: int = 16686
    otlp: int = 4318
    nats: int = 4222
    xds: int = 18000
    identity: int = 18001

    @classmethod
    def shifted(cls, base: int = 0, settings: Mapping[str, str] = os.environ) -> Ports:
        """The defaults, each moved up by `base`, or as `BANK_<NAME>_PORT` says.

        Raises Problem for a port that cannot be.
        """
        chosen: dict[str, int] = {}
        for name, default in asdict(cls()).items():
            setting = f"BANK_{name.upper()}_PORT"
            text = settings.get(setting, str(default + base))
            if not text.isdecimal() or not 0 < int(text) < 65_536:
                why = f"{setting} or --port-base makes it {text}; ports are 1 to 65535"
                raise Problem(f"no such port for {name}", why, "choose a smaller one", USAGE)
            chosen[name] = int(text)
        return cls(**chosen)

    @classmethod
    def free(cls) -> Ports:
        """Ports that nobody listens on now."""
        return cls(**{field.name: free_port() for field in fields(cls)})


def free_port() -> int:
    """Finds a port on the loopback that nobody listens on, and that was not given out lately."""
    for port in random.sample(FREE_RANGE, k=len(FREE_RANGE)):
        if port not in _given and is_free(port):
            _given.append(port)
            return port
    raise Problem("no port is free", f"all of {FREE_RANGE} are taken", "stop what listens there")


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of the loopback now."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
            candidate.listen(1)
        except OSError:
            return False
    return True


def must_be_free(ports: Mapping[str, int]) -> None:
    """Raises Problem, naming the owner, if somebody listens on one of the ports."""
    for name, port in ports.items():
        if not is_free(port):
            raise Problem(
                f"port {port} ({name}) is taken",
                f"{owner_of(port)} listens on it",
                f"stop it, set BANK_{name.upper()}_PORT, or shift all ports: --port-base 10000",
            )


def owner_of(port: int) -> str:
    """Names the process that listens on a port, as far as this user may see it."""
    import psutil

    try:
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            listens = connection.status == psutil.CONN_LISTEN and address and address.port == port
            if listens and connection.pid is not None:
                process = psutil.Process(connection.pid)
                command = " ".join(process.cmdline())[:120] or process.name()
                return f"process {process.pid} ({command})"
    except psutil.Error:
        pass
    return "a process of another user"
