"""The one NATS server of the embedded profile."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from mesh.supervisor.health import http_ready
from mesh.supervisor.ports import LOOPBACK, free_port
from mesh.supervisor.problem import Problem
from mesh.supervisor.process import Launch, Program

__all__ = ["nats_program"]

# A publish is acknowledged only when it is on the disk: with the server's default of two minutes a
# power cut loses all of them. Nothing but this machine is listened to.
CONFIG = """\
listen: "{host}:{port}"
http: "{host}:{monitor}"
server_name: "embedded"
max_payload: 1MB
jetstream {{
  store_dir: "{store}"
  sync_interval: always
  max_memory_store: 256MB
  max_file_store: 8GB
}}
"""


def nats_program(data: Path, port: int) -> Program:
    """The server on the given port, keeping its streams in `data`/nats."""

    def launch(_: str) -> Launch:
        home = data / "nats"
        home.mkdir(parents=True, exist_ok=True)
        monitor = free_port()
        config = home / "nats.conf"
        text = CONFIG.format(host=LOOPBACK, port=port, monitor=monitor, store=home / "store")
        config.write_text(text)
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
