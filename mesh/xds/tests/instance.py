"""A process that serves `mesh.test.v1.EchoService`: identity, mutual TLS, lease, drain.

Prints one JSON line when it is registered, and one when it has drained. The answer of every method
is the id of the instance. What is asked decides how: `refuse` is NOT_FOUND, `fail` is UNAVAILABLE,
`fail:<instance>` only there, `slow:<seconds>` takes its time.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from mesh.identity.workload import WorkloadIdentity, workload_of
from mesh.xds.lease import Lease
from meshapi.v1 import registry_pb2 as pb

SERVICE = "mesh.test.v1.EchoService"
METHODS = (
    pb.MethodRoute(path=f"/{SERVICE}/Get", retriable=True),
    pb.MethodRoute(path=f"/{SERVICE}/Do", retriable=False),
)


class Echo:
    """Answers with its id, and knows whether it is quiet."""

    def __init__(self, instance_id: str) -> None:
        self.instance_id = instance_id
        self.running = 0
        self.last = 0.0

    async def answer(self, asked: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.running += 1
        try:
            what, _, how = asked.decode().partition(":")
            if what == "slow":
                await asyncio.sleep(float(how))
            elif what == "refuse":
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            elif what == "fail" and how in ("", self.instance_id):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            elif what == "who":
                return workload_of(context).encode()
            return self.instance_id.encode()
        finally:
            self.running -= 1
            self.last = time.monotonic()

    async def quiet(self, seconds: float) -> None:
        # Quiet is an absence: nothing signals it.
        while self.running or time.monotonic() - self.last < seconds:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def main(told: dict[str, Any]) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    identity = WorkloadIdentity(
        told["workload"],
        directory=Path(told["directory"]),
        address=told["identity"],
        join_token_file=Path(told["join_token_file"]),
        trust_bundle_file=Path(told["trust_bundle_file"]),
    )
    await identity.obtain()
    echo = Echo(told["instance_id"])
    server = grpc.aio.server(
        options=[("grpc.so_reuseport", 0), ("grpc.max_connection_age_ms", 300_000)]
    )
    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(echo.answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Get": method, "Do": method}),)
    )
    port = server.add_secure_port("127.0.0.1:0", identity.server_credentials())
    await server.start()
    lease = Lease(told["control_plane"], identity.channel_credentials)
    instance = pb.Instance(
        service=told["service"],
        instance_id=told["instance_id"],
        address=f"127.0.0.1:{port}",
        version="1",
        zone=told.get("zone", "local"),
    )
    asked_at = time.time()
    tasks = [
        asyncio.create_task(lease.keep(instance, METHODS)),
        asyncio.create_task(identity.keep()),
    ]
    await lease.until_registered()
    say({"port": port, "asked_at": asked_at})
    await stopping.wait()
    known = await lease.drain(10.0)
    await asyncio.wait_for(echo.quiet(0.3), 10.0)
    await server.stop(5.0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    say({"drained": known})


def say(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
