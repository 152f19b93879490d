"""Who answers the core of a process that starts while no control plane does: the process itself.

Theory of operation. What gRPC's core has accepted is written to a file, shared by the processes of
a service on a machine. The bootstrap names two servers: the control plane, and a socket of this
process. The core goes to the second one only when the first cannot be reached and something is
asked for that it does not have (gRFC A71): at the start of a process, or of a new target. There it
is told what was last known, old endpoints being better than none, and it leaves by itself when the
control plane is back.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

from mesh.identity.directory import write_private
from mesh.xds.accepted import Held

__all__ = ["FILE", "Fallback"]

FILE = "xds.json"

_SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_MOST_KEPT = 5_000
_PREFIX = "mesh-xds-"

_log = logging.getLogger(__name__)

Kept = dict[tuple[str, str], bytes]


class Fallback:
    """Keeps what the core has accepted in `path`, and tells it to a core that has nobody else.

    `uri` is where it listens, once it has started; empty where that was not possible.
    """

    def __init__(self, path: Path) -> None:
        self.uri = ""
        self._path = path
        self._held: Held = {}
        self._changed = asyncio.Event()
        self._folder = ""
        self._server = grpc.aio.server()

    async def start(self) -> None:
        """Starts to listen."""
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            self._stream
        )
        methods = {"StreamAggregatedResources": handler}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, methods),)
        )
        try:
            self._folder = await asyncio.to_thread(_folder)
            self._server.add_insecure_port(f"unix:{self._folder}/xds")
        except (OSError, RuntimeError) as error:
            _log.warning("nobody stands in for the control plane: %s", error)
            return
        await self._server.start()
        self.uri = f"unix:{self._folder}/xds"

    async def stop(self) -> None:
        """Stops to listen."""
        await self._server.stop(None)
        if self._folder:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def keep(self, held: Held) -> None:
        """Is told what the core has accepted."""
        self._held = held
        self._changed.set()

    async def write(self) -> None:
        """Writes whatever the core has accepted, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await asyncio.to_thread(_write, self._path, self._held)
            except OSError as error:
                _log.warning("what the control plane told cannot be kept: %s", error)

    async def _stream(
        self,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        # Imported where it is needed, which is nearly never: it takes 6 MB.
        from mesh.xds.last_known import Answers

        _log.warning("no control plane answers: what was last known is used")
        answers = Answers(await asyncio.to_thread(_read, self._path))
        async for request in requests:
            for answer in answers.to(request):
                await context.write(answer)


def _folder() -> str:
    """Makes a folder that nobody else can enter, with a name short enough for a socket's.

    Those of processes that were killed are swept away.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(left.name.removeprefix(_PREFIX).partition("-")[0])
            if left.stat().st_uid == os.getuid() and not _is_alive(pid):
                shutil.rmtree(left)
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _read(path: Path) -> Kept:
    try:
        items = json.loads(path.read_bytes())
        return {(item["type"], item["name"]): base64.b64decode(item["body"]) for item in items}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, binascii.Error):
        _log.exception("what the control plane last told cannot be read")
        return {}


def _write(path: Path, held: Held) -> None:
    """Adds what is held to what is kept: another process of the service may ask for other names."""
    before = _read(path)
    kept = {**before, **{key: each.body.value for key, each in held.items()}}
    if kept == before or len(kept) > _MOST_KEPT:
        return
    items = [
        {"type": type_url, "name": name, "body": base64.b64encode(body).decode()}
        for (type_url, name), body in sorted(kept.items())
    ]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, json.dumps(items).encode())
