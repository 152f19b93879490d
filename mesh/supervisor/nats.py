"""The one NATS server of the embedded profile."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from mesh.supervisor.files import password, write_private
from mesh.supervisor.health import http_ready
from mesh.supervisor.ports import LOOPBACK, free_port
from mesh.supervisor.problem import Problem
from mesh.supervisor.process import Launch, Program
from mesh.supervisor.project import Project

__all__ = ["nats_program", "nats_url", "prepare_nats"]

# Whoever prepares the server, which is done at each start of all, issues a new one.
CERTIFICATE_LIFE = timedelta(days=90)

# A publish is acknowledged only when it is on the disk: with the server's default of two minutes a
# power cut loses all of them. Nothing but this machine is listened to.
CONFIG = """\
listen: "{host}:{port}"
http: "{host}:{monitor}"
server_name: "embedded"
max_payload: 1MB
jetstream {{
  store_dir: "{home}/store"
  sync_interval: always
  max_memory_store: 256MB
  max_file_store: 8GB
}}
tls {{
  cert_file: "{home}/cert.pem"
  key_file: "{home}/key.pem"
}}
authorization {{
  include "users.conf"
}}
"""


def prepare_nats(
    project: Project, home: Path, authority: Path, host_names: Sequence[str]
) -> dict[str, str]:
    """Writes what a server needs to know its users, and to be known by them, to `home`: users.conf,
    cert.pem and key.pem, and for each user a file with its password. Tells the passwords.

    `authority` is the directory of the mesh's authority.
    """
    from mesh.catalogue.broker import grants, users_conf
    from mesh.identity.authority import Authority, new_key, pem_of

    home.mkdir(parents=True, exist_ok=True)
    granted = grants(project)
    words = {name: password(home / f"{name}.password") for name in granted}
    write_private(home / "users.conf", users_conf(granted, words))
    key = new_key()
    issuer = Authority.open(authority)
    issued = issuer.issue("nats", key.public_key(), CERTIFICATE_LIFE, host_names)
    write_private(home / "key.pem", pem_of(key).decode())
    write_private(home / "cert.pem", issued.chain_pem.decode())
    return words


def nats_url(data: Path, endpoint: str, user: str) -> str:
    """The URL by which a user connects to the server of a data directory."""
    word = (data / "nats" / f"{user}.password").read_text()
    return endpoint.replace("://", f"://{user}:{word}@")


def nats_program(data: Path, port: int) -> Program:
    """The server on the given port, keeping its streams in `data`/nats, which is prepared."""

    def launch(_: str) -> Launch:
        home = data / "nats"
        home.mkdir(parents=True, exist_ok=True)
        monitor = free_port()
        config = home / "nats.conf"
        config.write_text(CONFIG.format(host=LOOPBACK, port=port, monitor=monitor, home=home))
        return Launch(
            argv=[_binary(), "--config", str(config)],
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(home)},
            address=f"{LOOPBACK}:{port}",
            missing=http_ready(monitor, "/healthz"),
        )

    return Program(name="nats", launch=launch, patience_s=30.0, shown=False)


def _binary() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        why = "it comes with requirements.lock"
        raise Problem("nats-server is not installed", why, "remove .venv and run ./bank again")
    return found
