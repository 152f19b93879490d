"""A client of the mesh, told what to do by JSON lines, one answer each.

It calls as a service does: with an identity that it renews, and through the chassis' stubs. Calls
come at a constant rate, however long they take; each becomes a line of a file: the moment at which
it began, the seconds it took, and `OK`, or the class and reason of its error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import grpc
import uvloop

from bank.accounts.v1 import accounts_pb2 as pb
from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from mesh.errors import Error
from mesh.identity.workload import WorkloadIdentity
from mesh.rpc.client import CHANNEL_OPTIONS, Channels, make_stub
from mesh.xds.accepted import follow, mirror_rules
from mesh.xds.bootstrap import Node, bootstrap
from mesh.xds.fallback import FILE, Fallback
from observability import metrics
from tests.faults.backend import ACCOUNT_ID

_TICK_S = 0.005


class Driver:
    def __init__(self, channels: Channels) -> None:
        self.accounts = make_stub(AccountsServiceStub, "accounts", channels)
        self.running: set[asyncio.Task[None]] = set()
        self.load: asyncio.Task[None] | None = None
        self.calls = 0
        self.failed = 0

    async def ask(self, *, what: str = "", method: str = "DescribeAccount") -> Any:
        try:
            answer = await self.call(method, what)
        except Error as error:
            return {"error": f"{type(error).__name__} {error.reason}", "message": error.message}
        return {"answer": answer.company_id}

    def call(self, method: str, what: str) -> Any:
        request = {
            "DescribeAccount": lambda: pb.DescribeAccountRequest(
                account_id=ACCOUNT_ID, user_id=what
            ),
            "PostEntry": pb.PostEntryRequest,
        }[method]()
        return getattr(self.accounts, method)(request)

    async def start(self, *, rate: float, file: str, what: str = "") -> Any:
        """Begins to call, so many times a second."""
        self.calls = self.failed = 0
        self.load = asyncio.create_task(self.keep_calling(rate, what, Path(file)))
        return {}

    async def counted(self) -> Any:
        return {"calls": self.calls, "failed": self.failed}

    async def stop(self) -> Any:
        assert self.load is not None
        self.load.cancel()
        await asyncio.gather(self.load, return_exceptions=True)
        return {"calls": self.calls, "failed": self.failed}

    async def metrics(self) -> Any:
        return {"text": metrics.render().decode()}

    async def keep_calling(self, rate: float, what: str, file: Path) -> None:
        began, number = time.monotonic(), 0
        with file.open("w") as lines:
            try:
                while True:
                    due = int((time.monotonic() - began) * rate)
                    for _ in range(due - number):
                        task = asyncio.create_task(self.one(what, lines))
                        self.running.add(task)
                        task.add_done_callback(self.running.discard)
                    number = due
                    await asyncio.sleep(_TICK_S)
            finally:
                await asyncio.gather(*self.running)

    async def one(self, what: str, lines: TextIO) -> None:
        began = time.monotonic()
        try:
            await self.call("DescribeAccount", what)
            end = "OK"
        except Error as error:
            end = f"{type(error).__name__} {error.reason} {error.message[:200]}"
            self.failed += 1
        self.calls += 1
        lines.write(f"{began:.6f} {time.monotonic() - began:.6f} {end}\n")


async def main(told: dict[str, str]) -> None:
    directory = Path(told["directory"])
    identity = WorkloadIdentity(
        told["workload"],
        directory=directory / "identity",
        address=told["identity"],
        join_token_file=directory / "join.token",
        trust_bundle_file=Path(told["trust_bundle_file"]),
    )
    await identity.obtain()
    keeping = asyncio.create_task(identity.keep())
    node = Node(
        service=told["workload"],
        instance_id=directory.name,
        zone="local",
        version="1",
        control_plane=told["control_plane"],
    )
    fallback = Fallback(identity.directory / FILE)
    await fallback.start()
    config = bootstrap(node, identity.directory, fallback.uri)
    os.environ["GRPC_XDS_BOOTSTRAP_CONFIG"] = json.dumps(config)
    channels = Channels(
        lambda service: grpc.aio.secure_channel(
            f"xds:///{service}",
            grpc.xds_channel_credentials(identity.channel_credentials()),
            CHANNEL_OPTIONS,
        )
    )
    working = [
        keeping,
        asyncio.create_task(
            follow(
                lambda held: channels.mirrors.follow(mirror_rules(held)),
                fallback.keep,
            )
        ),
        asyncio.create_task(fallback.write()),
        asyncio.create_task(channels.mirrors.run()),
    ]
    driver = Driver(channels)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    print(json.dumps({"started": True}), flush=True)
    while line := await reader.readline():
        order = json.loads(line)
        print(json.dumps(await getattr(driver, order.pop("do"))(**order)), flush=True)
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await channels.close()
    await fallback.stop()


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
