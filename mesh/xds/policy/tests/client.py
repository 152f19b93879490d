"""A process that calls `xds:///echo` as told by JSON lines, one answer each: a plain gRPC client,
all that it knows of the mesh is its bootstrap.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc

SERVICE = "mesh.test.v1.EchoService"


class Client:
    def __init__(self) -> None:
        self.channel = grpc.aio.secure_channel("xds:///echo", grpc.xds_channel_credentials())
        self.load: tuple[list[asyncio.Task[None]], Counter[str], asyncio.Event] | None = None

    async def ask(
        self, method: str = "Get", what: str = "", headers: Any = (), limit_s: float = 5.0
    ) -> str:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            f"/{SERVICE}/{method}"
        )
        metadata = tuple((name, value) for name, value in headers)
        try:
            answer = await call(what.encode(), timeout=limit_s, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name}: {error.details()}"
        return answer.decode()

    async def call(self, *, n: int = 1, width: int = 1, slow_s: float = 60.0, **how: Any) -> Any:
        """Calls n times, so many at once; counts the answers, and those that took long."""
        answers: Counter[str] = Counter()
        slow = 0

        async def work(calls: int) -> None:
            nonlocal slow
            for _ in range(calls):
                began = time.monotonic()
                answers[await self.ask(**how)] += 1
                slow += time.monotonic() - began >= slow_s

        await asyncio.gather(*(work(n // width) for _ in range(width)))
        return {"answers": answers, "slow": slow}

    async def until(self, *, answer: str, within_s: float, **how: Any) -> Any:
        """Calls until twenty calls in a row had an answer; tells when the first of them had."""
        first, row, last = 0.0, 0, ""
        end = time.monotonic() + within_s
        while row < 20 and time.monotonic() < end:
            last = await self.ask(**how)
            first = (first if row else time.time()) if last == answer else 0.0
            row = row + 1 if last == answer else 0
        return {"at": first, "last": last}

    async def begin(self, *, width: int = 4, pause_s: float = 0.002, **how: Any) -> Any:
        """Calls without end."""
        answers: Counter[str] = Counter()
        ending = asyncio.Event()

        async def work() -> None:
            while not ending.is_set():
                answers[await self.ask(**how)] += 1
                await asyncio.sleep(pause_s)

        self.load = ([asyncio.create_task(work()) for _ in range(width)], answers, ending)
        return {}

    async def counted(self) -> Any:
        assert self.load is not None
        answers = dict(self.load[1])
        self.load[1].clear()
        return {"answers": answers}

    async def end(self) -> Any:
        assert self.load is not None
        tasks, answers, ending = self.load
        ending.set()
        await asyncio.gather(*tasks)
        return {"answers": answers}


async def main() -> None:
    client = Client()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        told = json.loads(line)
        print(json.dumps(await getattr(client, told.pop("do"))(**told)), flush=True)
    await client.channel.close()


if __name__ == "__main__":
    asyncio.run(main())
