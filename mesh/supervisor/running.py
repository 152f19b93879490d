"""What a command knows of the bank that is up: its state file and its supervisor's answers."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.supervisor.endpoints import Endpoints
from mesh.supervisor.problem import NOT_RUNNING, Problem

__all__ = ["STATE_FILE", "TOKEN_FILE", "Running", "data_dir"]

STATE_FILE = "state.json"
TOKEN_FILE = "token"  # noqa: S105 - the name of a file
# A restart answers when the new process is ready.
PATIENCE_S = 120.0


def data_dir(root: Path) -> Path:
    """Where the state lives: `.bank` beside the code, or where `BANK_DATA` says."""
    return Path(os.environ.get("BANK_DATA") or root / ".bank").absolute()


@dataclass(frozen=True, kw_only=True)
class Running:
    """The embedded profile that is up with a data directory."""

    data: Path
    pid: int
    endpoints: Endpoints

    @classmethod
    def find(cls, data: Path) -> Running:
        """Reads the state file. Raises Problem when nothing is up."""
        try:
            state = json.loads((data / STATE_FILE).read_text())
            os.kill(state["pid"], 0)
        except (OSError, ValueError):
            why = f"no supervisor keeps its data in {data}"
            raise Problem("the bank is not running", why, "./bank up", NOT_RUNNING) from None
        private = {"identity": state["identity"], "registry": state.get("registry", "")}
        endpoints = Endpoints(**state["endpoints"], **private)
        return cls(data=data, pid=state["pid"], endpoints=endpoints)

    def status(self) -> dict[str, Any]:
        """Asks the supervisor for its status."""
        return self._ask("/api/status")

    def change(self, path: str) -> dict[str, Any]:
        """Asks the supervisor for a change. Raises Problem with its refusal."""
        return self._ask(path, (self.data / TOKEN_FILE).read_text())

    def _ask(self, path: str, token: str | None = None) -> dict[str, Any]:
        url = self.endpoints.dashboard + path
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        method = "GET" if token is None else "POST"
        request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - ours
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except OSError as error:
            why = f"{url}: {error}"
            raise Problem(
                "the supervisor does not answer", why, "./bank logs", NOT_RUNNING
            ) from None


def _refused(error: urllib.error.HTTPError) -> Problem:
    with error:
        try:
            said = json.load(error)
            return Problem(said["what"], said["why"], said["try"], said["exit_code"])
        except (ValueError, KeyError):
            why = f"it answers {error.code} {error.reason}"
            return Problem("the supervisor refuses", why, "./bank status")
