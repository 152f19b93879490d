"""Runs the benchmarks: all, or one by its name. Further arguments go to that one."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "hop",
    "payments",
    "events",
    "db",
    "hot",
    "xds_push",
    "xds_clients",
    "tracing",
    "attack",
    "sight",
    "pgbench",
)


def main(words: list[str]) -> int:
    """Runs them one after the other, so that none disturbs another; gives the worst exit code."""
    if words and words[0] in BENCHMARKS:
        return _run(words[0], *words[1:])
    if words:
        print(f"there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    return max(_run(name) for name in BENCHMARKS)


def _run(name: str, *arguments: str) -> int:
    print(f"── {name}", flush=True)
    return subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
