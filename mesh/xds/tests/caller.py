"""A process that calls `xds:///<service>`, told what to do by JSON lines, one answer each.

It is a plain gRPC client: all it knows of the mesh is its bootstrap.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
from envoy.service.status.v3.csds_pb2 import ClientStatusResponse

SERVICE = "mesh.test.v1.EchoService"

_WIDTH = 4


class Caller:
    def __init__(self) -> None:
        self.channels: dict[str, grpc.aio.Channel] = {}
        self.loads: dict[str, tuple[list[asyncio.Task[None]], Counter[str], asyncio.Event]] = {}

    def channel(self, service: str) -> grpc.aio.Channel:
        if service not in self.channels:
            self.channels[service] = grpc.aio.secure_channel(
                f"xds:///{service}", grpc.xds_channel_credentials()
            )
        return self.channels[service]

    async def ask(self, service: str, method: str, what: str, limit_s: float = 5.0) -> str:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel(service).unary_unary(
            f"/{SERVICE}/{method}"
        )
        try:
            answer = await call(what.encode(), timeout=limit_s)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return answer.decode()

    async def call(self, *, service: str, method: str = "Get", what: str = "", n: int = 1) -> Any:
        started = time.monotonic()
        answers = Counter([await self.ask(service, method, what) for _ in range(n)])
        return {"answers": answers, "took_s": time.monotonic() - started, "at": time.time()}

    async def until(self, *, service: str, answer: str, gone: bool = False) -> Any:
        """Calls until an instance answers, or until it does not in twenty calls in a row."""
        first_away = 0.0
        others = 0
        while True:
            got = await self.ask(service, "Get", "", 2.0)
            now = time.time()
            if gone:
                first_away = (first_away or now) if got != answer else 0.0
                others = others + 1 if got != answer else 0
                if others == 20:
                    return {"at": first_away}
            elif got == answer:
                return {"at": now}
            await asyncio.sleep(0.001)

    async def load(self, *, service: str, method: str = "Get", what: str = "") -> Any:
        answers: Counter[str] = Counter()
        ending = asyncio.Event()

        async def work() -> None:
            while not ending.is_set():
                answers[await self.ask(service, method, what)] += 1
                await asyncio.sleep(0.002)

        self.loads[service] = (
            [asyncio.create_task(work()) for _ in range(_WIDTH)],
            answers,
            ending,
        )
        return {}

    async def counted(self, *, service: str) -> Any:
        return {"answers": self.loads[service][1]}

    async def stop(self, *, service: str) -> Any:
        tasks, answers, ending = self.loads.pop(service)
        ending.set()
        await asyncio.gather(*tasks)
        return {"answers": answers}

    async def status(self) -> Any:
        """What the client itself says of its resources (gRFC A40)."""
        core = importlib.import_module("grpc._cython.cygrpc")
        found = ClientStatusResponse.FromString(core.dump_xds_configs())
        return {
            f"{entry.type_url.rpartition('.')[2]} {entry.name}": [
                int(entry.client_status),
                entry.error_state.details,
            ]
            for config in found.config
            for entry in config.generic_xds_configs
        }


async def main() -> None:
    caller = Caller()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        told = json.loads(line)
        print(json.dumps(await getattr(caller, told.pop("do"))(**told)), flush=True)
    for channel in caller.channels.values():
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main())
