"""How long the mesh takes to notice: from an instance's registration to the first call on it, and
from its death (`kill -9`) to the last call on it.

Twenty times, with real processes on this machine: `python -m benchmarks.xds_push [rounds]`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from mesh.xds.tests.processes import Mesh


async def measure(rounds: int, root: Path) -> dict[str, list[float]]:
    """Starts and kills a second instance, again and again, while a client calls."""
    took: dict[str, list[float]] = {"registration to first call": [], "kill -9 to last call": []}
    async with Mesh(root) as mesh:
        await mesh.start_plane()
        await (await mesh.start_instance("echo", "first")).heard()
        caller = await mesh.start_caller()
        await caller.do("until", service="echo", answer="first")
        for number in range(rounds):
            name = f"second-{number}"
            second = await mesh.start_instance("echo", name)
            # The moment at which it asks to be registered, by its own clock.
            asked, on_it = await asyncio.gather(
                second.heard(), caller.do("until", service="echo", answer=name)
            )
            took["registration to first call"].append(on_it["at"] - asked["asked_at"])
            killed_at = time.time()
            second.child.send_signal(signal.SIGKILL)
            away = await caller.do("until", service="echo", answer=name, gone=True)
            took["kill -9 to last call"].append(away["at"] - killed_at)
            await second.ends()
    return took


def main() -> None:
    """Prints the median and the maximum of each, in milliseconds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as root:
        took = asyncio.run(measure(rounds, Path(root)))
    for what, seconds in took.items():
        print(f"{what:28} p50 {median(seconds) * 1e3:6.1f} ms   max {max(seconds) * 1e3:6.1f} ms")


if __name__ == "__main__":
    main()
