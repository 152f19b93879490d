"""The embedded profile: the whole system on one machine, started in order and stopped in reverse.

First the broker, the trace store and the control plane, then every service at once. A service is
live with nothing else up, so the order only saves it from logging what it misses.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from mesh.supervisor.dashboard import Dashboard
from mesh.supervisor.endpoints import Endpoints
from mesh.supervisor.files import write_private
from mesh.supervisor.logs import LogFollower
from mesh.supervisor.nats import nats_program, prepare_nats
from mesh.supervisor.platform import control_data, control_program, traces_program
from mesh.supervisor.ports import LOOPBACK, Ports, must_be_free
from mesh.supervisor.postgres import Cluster
from mesh.supervisor.problem import NOT_RUNNING, USAGE, Problem
from mesh.supervisor.process import Instance, Program
from mesh.supervisor.project import DatabaseKind, Project
from mesh.supervisor.running import STATE_FILE, TOKEN_FILE
from mesh.supervisor.services import service_program

__all__ = ["Embedded", "parted"]

PROFILE = "embedded"
MAX_INSTANCES = 16

Progress = Callable[[str, float], None]


class Embedded:
    """Starts, watches and stops everything. One at a time per data directory."""

    def __init__(
        self,
        project: Project,
        data: Path,
        ports: Ports,
        *,
        scale: Mapping[str, int] | None = None,
        database: DatabaseKind = DatabaseKind.SQLITE,
        control_planes: int = 1,
        logs_to: TextIO | None = None,
        colour: bool = False,
        progress: Progress = lambda name, seconds: None,
    ) -> None:
        self.project = project
        self.data = data
        self.ports = ports
        self.endpoints = Endpoints.of(ports, control_planes)
        self.uses_jaeger = False
        self.instances: dict[str, list[Instance]] = {}
        self._scale = dict(scale or {})
        is_postgres = database is DatabaseKind.POSTGRES
        self._cluster = Cluster(data, project.services) if is_postgres else None
        self._progress = progress
        self._follower = LogFollower(logs_to, colour)
        self._lock: int | None = None
        self._dashboard: Dashboard | None = None
        self._changing = asyncio.Lock()

    async def up(self) -> None:
        """Starts everything and waits until it is ready. Raises Problem, and leaves nothing up."""
        self._claim()
        root = self.project.root
        try:
            await self._find_traces()
            must_be_free(self._ports_to_take())
            await asyncio.to_thread(self._prepare)
            await self._serve()
            self._follower.start()
            platform = [nats_program(self.data, self.ports.nats)]
            if not self.uses_jaeger:
                platform.append(traces_program(root, self.data, self.ports))
            plane = control_program(root, self.data, self.ports, self.endpoints)
            platform.append(plane)
            if self._cluster is not None:
                platform.append(self._cluster.program())
            await self._start(self._add(program) for program in platform)
            # The first one has made the authority that all share.
            others = self.endpoints.control_planes[1:]
            await self._start(self._add(plane) for _ in others)
            await self._start(
                self._add(self._program(*parted(name)))
                for name, count in self._counts().items()
                for _ in range(count)
            )
        except BaseException:
            await asyncio.shield(self.down())
            raise

    async def down(self) -> None:
        """Stops everything, what others need last. Idempotent."""
        services = [each for name in self.project.services for each in self.instances.get(name, [])]
        await asyncio.gather(*(instance.stop() for instance in services))
        for name in ("control-plane", "postgres", "nats", "traces"):
            for instance in self.instances.get(name, []):
                await instance.stop()
        if self._dashboard is not None:
            await self._dashboard.stop()
        await self._follower.stop()
        if self._lock is not None:
            for name in (STATE_FILE, TOKEN_FILE):
                (self.data / name).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def kill(self) -> None:
        """Ends everything at once."""
        for instance in self._all():
            instance.kill()

    async def restart(self, name: str) -> None:
        """Restarts a service, one instance after the other, each only when the last is ready."""
        async with self._changing:
            for instance in list(self._named(name)):
                await instance.restart()

    async def scale(self, name: str, count: int) -> None:
        """Runs so many instances of a service, and waits until they are ready.

        `service@version` is about the instances of another version than the project's.
        """
        service, version = parted(name)
        if service not in self.project.services:
            raise self._unknown(service)
        if not 0 <= count <= MAX_INSTANCES:
            why = f"an embedded service has 0 to {MAX_INSTANCES} instances"
            raise Problem(f"{name} cannot have {count} instances", why, "another number", USAGE)
        async with self._changing:
            running = self.instances.setdefault(service, [])
            wanted = version or self.project.version
            own = [each for each in running if each.program.version == wanted]
            surplus = own[count:]
            await asyncio.gather(*(instance.stop() for instance in surplus))
            running[:] = [each for each in running if each not in surplus]
            missing = range(count - len(own))
            await self._start(self._add(self._program(service, version)) for _ in missing)

    def status(self) -> dict[str, object]:
        """What `status --output json` prints."""
        project = self.project
        services = [self._described(name, project.version) for name in project.services]
        others = [name for name in self.instances if name not in project.services]
        return {
            "profile": PROFILE,
            "services": services,
            "platform": [self._described(name, "") for name in others],
            "endpoints": self.endpoints.public(),
        }

    def admin_port(self, name: str) -> int:
        """The port of the admin page of a program's first instance. Raises Problem if none."""
        return self._named(name)[0].admin

    def _described(self, name: str, version: str) -> dict[str, object]:
        instances = [_described(instance) for instance in self.instances.get(name, [])]
        return {"name": name, "version": version, "instances": instances}

    def _counts(self) -> dict[str, int]:
        """How many instances of each service, and of each other version of one, are started."""
        return {**dict.fromkeys(self.project.services, 1), **self._scale}

    def _program(self, name: str, version: str = "") -> Program:
        return service_program(
            self.project,
            name,
            self.data,
            self.endpoints,
            self._rest_listen(name),
            version,
            self._cluster.url_of(name) if self._cluster is not None else "",
        )

    def _rest_listen(self, name: str) -> int | None:
        """The REST port for the first instance of the edge; others of it take what is free."""
        first = name == self.project.edge and not self.instances.get(name)
        return self.ports.rest if first else None

    def _add(self, program: Program) -> Instance:
        running = self.instances.setdefault(program.name, [])
        taken = {instance.id for instance in running}
        number = next(n for n in range(1, MAX_INSTANCES + 2) if f"{program.name}-{n}" not in taken)
        id = f"{program.name}-{number}"
        log = self.data / "logs" / f"{id}.log"
        instance = Instance(program, id, log, self.project.root)
        self._follower.follow(log, shown=program.shown)
        running.append(instance)
        return instance

    async def _start(self, instances: Iterable[Instance]) -> None:
        async def start(instance: Instance) -> None:
            began = time.monotonic()
            await instance.start()
            await instance.until_ready()
            self._progress(instance.id, time.monotonic() - began)

        try:
            async with asyncio.TaskGroup() as group:
                for instance in instances:
                    group.create_task(start(instance))
        except* Problem as problems:
            raise _first(problems) from None

    async def _find_traces(self) -> None:
        from observability.client import jaeger_answers

        self.uses_jaeger = await asyncio.to_thread(jaeger_answers, self.endpoints.traces)

    def _prepare(self) -> None:
        from mesh.identity.join import authority_directory

        authority = authority_directory(control_data(self.data))
        prepare_nats(self.project, self.data / "nats", authority, ("localhost", LOOPBACK))

    def _ports_to_take(self) -> dict[str, int]:
        taken = {"traces", "otlp"} if self.uses_jaeger else set()
        return {name: port for name, port in asdict(self.ports).items() if name not in taken}

    def _claim(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.data / "logs").mkdir(exist_ok=True)
        lock = os.open(self.data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            why = f"another supervisor keeps its data in {self.data}"
            remedy = "./bank status, ./bank down, or another directory: BANK_DATA=…"
            raise Problem("it is up already", why, remedy) from None
        self._lock = lock

    async def _serve(self) -> None:
        token = secrets.token_urlsafe(24)
        self._dashboard = Dashboard(self, self.ports.dashboard, token)
        await self._dashboard.start()
        write_private(self.data / TOKEN_FILE, token)
        state = {
            "profile": PROFILE,
            "pid": os.getpid(),
            "endpoints": self.endpoints.public(),
            "identity": self.endpoints.identity,
            "registry": self.endpoints.registry,
        }
        write_private(self.data / STATE_FILE, json.dumps(state, indent=1))

    def _named(self, name: str) -> list[Instance]:
        instances = self.instances.get(name)
        if not instances:
            raise self._unknown(name)
        return instances

    def _unknown(self, name: str) -> Problem:
        known = ", ".join(self.instances) or "nothing"
        return Problem(f"there is no {name}", f"running: {known}", "./bank status", NOT_RUNNING)

    def _all(self) -> list[Instance]:
        return [instance for instances in self.instances.values() for instance in instances]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of those that came at once; the others are most often its echo."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def parted(name: str) -> tuple[str, str]:
    """Parts `service@version`; the version is "" where the name has none."""
    service, _, version = name.partition("@")
    return service, version


def _described(instance: Instance) -> dict[str, object]:
    return {
        "id": instance.id,
        "version": instance.program.version,
        "address": instance.address,
        "admin": f"{LOOPBACK}:{instance.admin}" if instance.admin else "",
        "pid": instance.pid,
        "state": str(instance.state),
        "missing": instance.missing,
        "restarts": instance.restarts,
    }
