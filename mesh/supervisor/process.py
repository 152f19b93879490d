"""One process kept alive: started, watched, started again when it ends unasked, stopped gently.

Theory of operation. An `Instance` is a small state machine that one task drives:

    STARTING ──ready──▶ READY ──asked──▶ STOPPING ──ended──▶ STOPPED
        ▲                 │ ended unasked
        └──── wait ◀── CRASHED

The first start after a crash is immediate: most crashes are somebody's kill -9. Later ones wait
twice as long each, and a process that stayed up for a while is forgiven.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import enum
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.supervisor.problem import Problem

__all__ = ["Instance", "Launch", "Program", "State"]

POLL_S = 0.1
WATCH_S = 2.0
BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
FORGIVEN_AFTER_S = 30.0
MAX_FAILED_STARTS = 3
LAST_WORDS_BYTES = 8_192
NOTE = "supervisor: "


class State(enum.StrEnum):
    """What an instance is doing."""

    STARTING = "STARTING"
    READY = "READY"
    NOT_READY = "NOT_READY"
    CRASHED = "CRASHED"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One start of a program. `missing` says what it still waits for, and None once it is ready.

    `admin` is the port of its admin page, on the loopback; 0 when it has none. `user` is whom root
    runs it as; None is the supervisor's own user.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    address: str
    missing: Callable[[], Awaitable[str | None]]
    admin: int = 0
    user: str | None = None


@dataclass(frozen=True, kw_only=True)
class Program:
    """What can be started. `launch` is asked before every start, so that ports are free ones.

    `shown` says whether its log is worth a place among the others'.
    """

    name: str
    launch: Callable[[str], Launch]
    version: str = ""
    patience_s: float = 60.0
    grace_s: float = 10.0
    shown: bool = True


class Instance:
    """Keeps one process of a program alive until it is told to stop."""

    def __init__(self, program: Program, id: str, log: Path, cwd: Path) -> None:
        self.program = program
        self.id = id
        self.log = log
        self.state = State.STOPPED
        self.missing = ""
        self.address = ""
        self.admin = 0
        self.restarts = 0
        self._cwd = cwd
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._wake = asyncio.Event()
        self._wanted = False
        self._again = False
        self._failed_starts = 0

    @property
    def pid(self) -> int | None:
        """The process id, while there is a process."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Starts the process and its keeper; does not wait until it is ready."""
        self._wanted = True
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self.id}")

    async def until_ready(self) -> None:
        """Waits until the process is ready. Raises Problem when its patience or its luck ends."""
        failed_before = self._failed_starts
        try:
            async with asyncio.timeout(self.program.patience_s):
                while not self._ready.is_set():
                    if self._failed_starts - failed_before >= MAX_FAILED_STARTS:
                        raise self._problem(f"{self.id} ends as soon as it is started")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            what = f"{self.id} is not ready after {self.program.patience_s:.0f} s"
            raise self._problem(what) from None

    def _problem(self, what: str) -> Problem:
        waits = self.missing or "it says nothing"
        why = f"{waits}; its last words: {last_words(self.log)}"
        return Problem(what, why, f"read {self.log}")

    async def restart(self) -> None:
        """Stops the process gently and starts another in its place; waits until that is ready."""
        self._ready.clear()
        self._again = True
        self._wake.set()
        await self._terminate()
        await self.until_ready()

    async def stop(self) -> None:
        """Asks the process to end, and ends it when its grace is over. Idempotent."""
        self._wanted = False
        self._wake.set()
        await self._terminate()
        if self._keeper is not None:
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.state = State.STOPPED

    def kill(self) -> None:
        """Ends the process and all it has started at once, as a crash would."""
        if self.pid is not None:
            _kill_group(self.pid)

    async def _spawn(self) -> None:
        launch = self.program.launch(self.id)
        self.address, self.admin = launch.address, launch.admin
        self.state, self.missing = State.STARTING, ""
        # uvloop, under which benchmarks run the bank, does not know the word.
        user: dict[str, Any] = {} if launch.user is None else {"user": launch.user}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launch.argv,
                env=dict(launch.env),
                cwd=self._cwd,
                **user,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                # A group of its own: the terminal's Ctrl-C must reach the supervisor alone.
                start_new_session=True,
                preexec_fn=_die_with_parent(),
            )
        self._launch = launch

    async def _keep(self) -> None:
        crashes = 0
        loop = asyncio.get_running_loop()
        while self._wanted:
            began = loop.time()
            if self.pid is not None:
                await self._watch()
            if self._wanted and not self._again:
                crashes = 0 if loop.time() - began > FORGIVEN_AFTER_S else crashes
                self._note_crash()
                await self._pause(BACKOFF_S[min(crashes, len(BACKOFF_S) - 1)])
                crashes += 1
            if self._wanted:
                self._again = False
                self.restarts += 1
                with contextlib.suppress(OSError, Problem):
                    await self._spawn()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _watch(self) -> None:
        """Asks the process whether it is ready, from its start to its end."""
        assert self._process is not None
        process = self._process
        ended = asyncio.ensure_future(process.wait())
        try:
            while not ended.done():
                missing = await self._launch.missing()
                if self.state not in (State.STOPPING, State.STOPPED) and not ended.done():
                    self._heard(missing)
                pause = WATCH_S if self._ready.is_set() else POLL_S
                await asyncio.wait([ended], timeout=pause)
        finally:
            self._ready.clear()
            ended.cancel()
            # What the process had started itself must not outlive it.
            _kill_group(process.pid)

    def _heard(self, missing: str | None) -> None:
        self.missing = missing or ""
        if missing is None:
            self.state = State.READY
            self._failed_starts = 0
            self._ready.set()
        elif self._ready.is_set():
            self.state = State.NOT_READY

    def _note_crash(self) -> None:
        self.state = State.CRASHED
        self._failed_starts += 1
        code = self._process.returncode if self._process is not None else None
        how = f"exit code {code}" if code is None or code >= 0 else signal.Signals(-code).name
        self.missing = f"it ended by itself ({how})"
        with self.log.open("a") as log:
            log.write(f"{NOTE}{self.id} ended by itself ({how}); starting it again\n")

    async def _terminate(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.state = State.STOPPING
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.program.grace_s):
                await process.wait()
        except TimeoutError:
            _kill_group(process.pid)
            await process.wait()


def last_words(log: Path) -> str:
    """The last error of a log, or its last line; for the reader of an error."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_WORDS_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
        said = [line for line in lines if line.strip() and not line.startswith(NOTE)]
        errors = [line for line in said if '"level":"error"' in line]
        if said:
            return (errors or said)[-1][:400]
    return "nothing"


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


PR_SET_PDEATHSIG = 1


def _die_with_parent() -> Callable[[], None] | None:
    """What a new child does first on Linux: asks the kernel to be killed when its parent dies."""
    if sys.platform != "linux":
        return None
    # Loaded before the fork: a child that loads a library may wait for a lock it can never get.
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask
