"""The catalogue on disk: one JSON file, replaced whole.

It is written soon after each change, not before it: what is lost with a crash is at most the last
moment, and every instance registers again anyway.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from mesh.identity.directory import write_private
from mesh.xds.catalogue import Catalogue, Endpoint, Method, Service

__all__ = ["Store"]

_log = logging.getLogger(__name__)


class Store:
    """Keeps the services in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = asyncio.Event()

    def load(self) -> list[Service]:
        """Reads what the last run knew: nothing when there is no file, or none that can be read."""
        try:
            return [_service(item) for item in json.loads(self._path.read_bytes())]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, KeyError):
            _log.exception("the catalogue cannot be read; instances will register again")
            return []

    def save(self, services: Iterable[Service]) -> None:
        """Writes the services."""
        write_private(self._path, _content(services))

    def changed(self) -> None:
        """Is told that there is something to write."""
        self._changed.set()

    async def keep(self, catalogue: Catalogue) -> None:
        """Writes the catalogue whenever it changed, for as long as it runs."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            content = _content(catalogue.services.values())
            try:
                await asyncio.to_thread(write_private, self._path, content)
            except OSError:
                _log.exception("the catalogue cannot be written; it is kept in memory")


def _content(services: Iterable[Service]) -> bytes:
    return json.dumps([asdict(service) for service in services], indent=1).encode()


def _service(item: dict[str, object]) -> Service:
    name, methods, endpoints = item["name"], item["methods"], item["endpoints"]
    if not isinstance(name, str) or not isinstance(methods, list):
        raise TypeError("a service has a name and a list of methods")
    if not isinstance(endpoints, dict):
        raise TypeError("a service has its endpoints by id")
    return Service(
        name=name,
        methods=tuple(Method(**method) for method in methods),
        endpoints={key: Endpoint(**endpoint) for key, endpoint in endpoints.items()},
    )
