"""What the processes show of themselves on their admin pages, taken twice, and the difference."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mesh.cli.figures import Figures
from mesh.supervisor.running import Running

__all__ = ["Attempts", "Page", "Sample", "Window", "look", "pages_of"]

PATIENCE_S = 3.0
XDS = "xds:///"
IPV4 = "ipv4:"

# An address that others of its channel were this often asked beside is left out on purpose.
ENOUGH_CALLS = 20


@dataclass(frozen=True)
class Page:
    """The admin page of a process: where it is, and whose."""

    service: str
    instance: str
    admin: str
    address: str
    state: str
    version: str = ""


@dataclass(frozen=True)
class Attempts:
    """Calls that one process made to a service, and the attempts that they took.

    `ejected` are addresses that got none though their neighbours did, after failures of theirs.
    """

    caller: str
    service: str
    calls: int
    attempts: int
    ejected: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """One process at one moment; `at` is of `time.monotonic`."""

    page: Page
    at: float
    figures: Figures
    channels: list[dict[str, Any]]

    @property
    def version(self) -> str:
        """The version of its code, as it says itself."""
        for labels, _ in self.figures.of("target_info"):
            return labels.get("service_version", "")
        return self.page.version


@dataclass(frozen=True)
class Window:
    """One process over a time of `seconds`."""

    page: Page
    version: str
    seconds: float
    grown: Figures
    now: Figures
    attempts: tuple[Attempts, ...]

    @classmethod
    def between(cls, before: Sample, after: Sample) -> Window:
        """What happened between two samples of the same process."""
        return cls(
            after.page,
            after.version,
            max(after.at - before.at, 1e-3),
            after.figures.since(before.figures),
            after.figures,
            tuple(_attempts(before, after)),
        )


def pages_of(running: Running, service: str = "") -> list[Page]:
    """Lists the admin pages of the services' processes, or of those of one service."""
    return [
        Page(
            each["name"],
            instance["id"],
            instance["admin"],
            instance["address"],
            instance["state"],
            each["version"],
        )
        for each in running.status()["services"]
        for instance in each["instances"]
        if instance["admin"] and service in ("", each["name"])
    ]


def look(pages: list[Page]) -> dict[str, Sample]:
    """Takes a sample of every process that answers, by instance."""
    if not pages:
        return {}
    with ThreadPoolExecutor(max_workers=min(16, len(pages))) as pool:
        found = pool.map(_sample, pages)
        return {sample.page.instance: sample for sample in found if sample is not None}


def _sample(page: Page) -> Sample | None:
    try:
        text = _get(page.admin, "/metrics").decode()
        at = time.monotonic()
    except OSError:
        return None
    try:
        channels = json.loads(_get(page.admin, "/debug/channels"))
    except (OSError, ValueError):
        # Debug services are off.
        channels = []
    return Sample(page, at, Figures.parse(text), channels)


def _get(admin: str, path: str) -> bytes:
    url = f"http://{admin}{path}"
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        body: bytes = answer.read()
        return body


def _attempts(before: Sample, after: Sample) -> Iterator[Attempts]:
    earlier = {channel["target"]: channel for channel in before.channels}
    for channel in after.channels:
        target = str(channel["target"])
        if not target.startswith(XDS):
            continue
        was = earlier.get(target, {"started": 0, "addresses": []})
        counts = {each["target"]: each["started"] for each in was["addresses"]}
        asked = {
            each["target"]: each["started"] - counts.get(each["target"], 0)
            for each in channel["addresses"]
        }
        attempts = sum(asked.values())
        left_out = tuple(
            str(each["target"]).removeprefix(IPV4)
            for each in channel["addresses"]
            if each["state"] == "READY" and each["failed"] and not asked[each["target"]]
        )
        yield Attempts(
            after.page.service,
            target.removeprefix(XDS),
            channel["started"] - was["started"],
            attempts,
            left_out if attempts >= ENOUGH_CALLS else (),
        )
