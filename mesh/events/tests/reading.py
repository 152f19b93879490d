"""What is in a stream, read by a consumer of the test's own."""

from __future__ import annotations

from mesh.events.jetstream import Connection
from mesh.events.pull import Pull
from mesh.ids import new_id


async def ids_in(connection: Connection, stream: str = "ORDERS") -> list[tuple[str, str, int]]:
    """The id, the key and the version of each event of a stream, in order."""
    name = new_id()
    config = {"name": name, "ack_policy": "none", "deliver_policy": "all"}
    body = {"stream_name": stream, "config": {**config, "inactive_threshold": 10**10}}
    await connection.api(f"CONSUMER.CREATE.{stream}.{name}", body)
    count = (await connection.api(f"STREAM.INFO.{stream}"))["state"]["messages"]
    found: list[tuple[str, str, int]] = []
    async with Pull(connection, stream, name, buffer=1_000) as pull:
        while len(found) < count:
            for message in await pull.take(1_000):
                headers = message.headers or {}
                found.append((headers["ce-id"], headers["ce-subject"], int(headers["ce-sequence"])))
    return found
