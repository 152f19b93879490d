"""Starts a whole bank by the command that users type, and ends it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from .bank import ROOT, Bank, command, environment, read_status

START_S = 90.0


def free_port_base() -> int:
    """A base from which the ports of the profile are free: the command shifts them all by it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return 20_000 + int(probe.getsockname()[1]) % 20_000


@contextmanager
def a_bank(told: Mapping[str, str] | None = None) -> Iterator[Bank]:
    """A bank with folders of its own. `told` goes into its environment."""
    # Not pytest's own folder: PostgreSQL, which has a user of its own, could not pass it.
    data = Path(tempfile.mkdtemp(prefix="bank-"))
    with (data / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command("up", "--port-base", str(free_port_base())),
            env={**environment(data), **(told or {})},
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
        try:
            yield wait_until_up(data, process)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, (data / "up.log").read_text()[-4000:]
            shutil.rmtree(data)


def nothing_drifts(data: Path) -> None:
    """All that must be true of money is."""
    argv = command("ledger", "drift")
    done = subprocess.run(argv, env=environment(data), cwd=ROOT, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr


def nothing_has_drifted(data: Path) -> None:
    """Whatever the tests have done, all that must be true of money is, and was all the time."""
    nothing_drifts(data)
    found = [line for line in (data / "up.log").read_text().splitlines() if " drift=" in line]
    assert found == []


def wait_until_up(data: Path, process: subprocess.Popen[bytes]) -> Bank:
    deadline = time.monotonic() + START_S
    while True:
        assert process.poll() is None, (data / "up.log").read_text()[-4000:]
        assert time.monotonic() < deadline, (data / "up.log").read_text()[-4000:]
        try:
            status = read_status(data)
            ready = httpx.get(f"{status['endpoints']['rest']}/readyz", timeout=2).status_code == 200
            states = [i["state"] for s in status["services"] for i in s["instances"]]
            if ready and states and all(state == "READY" for state in states):
                return Bank(data, status, process)
        except (subprocess.CalledProcessError, httpx.TransportError, KeyError):
            pass
        time.sleep(0.3)
