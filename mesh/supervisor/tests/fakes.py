"""Tiny programs to supervise."""

from __future__ import annotations

import sys
from pathlib import Path

from mesh.supervisor.health import http_ready
from mesh.supervisor.platform import child_environment
from mesh.supervisor.ports import LOOPBACK, free_port
from mesh.supervisor.process import Instance, Launch, Program

# Answers /readyz, and writes "bye" when asked to end.
SERVER = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"{}")
    def log_message(self, *_): pass
def end(*_):
    print("bye", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

# Starts a process of its own, and says which.
PARENT = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('child', child.pid, flush=True)\n"
) + SERVER

# Does not end when asked to.
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SERVER.replace(
    "signal.signal(signal.SIGTERM, end)", ""
)

BROKEN = "raise SystemExit('no such setting: COLOUR')"


def program(source: str, *, grace_s: float = 10.0, patience_s: float = 30.0) -> Program:
    def launch(_: str) -> Launch:
        port = free_port()
        return Launch(
            argv=[sys.executable, "-c", source, str(port)],
            env=child_environment(Path.cwd(), Path.cwd()),
            address=f"{LOOPBACK}:{port}",
            missing=http_ready(port, "/readyz"),
        )

    return Program(name="fake", launch=launch, grace_s=grace_s, patience_s=patience_s)


def instance(folder: Path, source: str = SERVER, **options: float) -> Instance:
    return Instance(program(source, **options), "fake-1", folder / "fake-1.log", folder)
