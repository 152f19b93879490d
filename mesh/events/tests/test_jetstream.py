from __future__ import annotations

import asyncio

import nats
import pytest

from mesh.errors import Transient
from mesh.events.client import LeanClient
from mesh.events.jetstream import ApiError, Jetstream
from mesh.testing.nats import NatsServer
from mesh.testing.waiting import eventually

HEADERS = {"ce-id": "1", "ce-subject": "a%20b", "with-space": "two words", "colons": "a:b: c"}


async def test_a_request_to_nobody_has_no_answer(jetstream: Jetstream) -> None:
    connection = await jetstream.connection()
    with pytest.raises(Transient, match="nobody"):
        await connection.request("nobody.there", b"hello")


async def test_a_refusal_of_the_api_has_its_code(jetstream: Jetstream) -> None:
    connection = await jetstream.connection()
    with pytest.raises(ApiError) as refusal:
        await connection.api("STREAM.INFO.NONE")
    assert refusal.value.code == ApiError.STREAM_NOT_FOUND


async def test_whoever_waits_is_told_when_the_connection_is_lost_and_there_is_another(
    jetstream: Jetstream, nats_server: NatsServer
) -> None:
    connection = await jetstream.connection()
    await connection.subscribe("silence", lambda _: None)
    waiting = asyncio.ensure_future(connection.request("silence", timeout_s=60))
    await asyncio.sleep(0)
    nats_server.kill()
    with pytest.raises(Transient):
        await waiting
    with pytest.raises(Transient):
        await connection.send("silence")
    await eventually(lambda: jetstream.missing() is not None)
    nats_server.start()
    async with asyncio.timeout(30):
        another = await jetstream.connection()
    assert another is not connection
    assert (await another.api("INFO"))["streams"] == 0
    assert jetstream.missing() is None


async def test_a_frozen_server_is_noticed(nats_server: NatsServer) -> None:
    jetstream = Jetstream(nats_server.url, service="shop", ping_every_s=0.05, ping_timeout_s=0.2)
    await jetstream.start()
    try:
        connection = await jetstream.connection()
        nats_server.pause()
        async with asyncio.timeout(30):
            await connection.lost.wait()
        nats_server.resume()
        async with asyncio.timeout(30):
            assert await jetstream.connection() is not connection
    finally:
        await jetstream.stop()


async def test_starting_and_stopping_wait_for_no_server() -> None:
    jetstream = Jetstream("nats://127.0.0.1:1", service="shop")
    async with asyncio.timeout(10):
        await jetstream.start()
        assert jetstream.missing() is not None
        await jetstream.stop()


async def test_headers_are_what_the_plain_client_sends_and_reads(nats_server: NatsServer) -> None:
    plain = await nats.connect(nats_server.url)
    lean = LeanClient()
    await lean.connect(nats_server.url)
    try:
        for sender, reader in ((plain, lean), (lean, plain)):
            subscription = await reader.subscribe("headers")
            await reader.flush()
            await sender.publish("headers", b"payload", headers=HEADERS)
            message = await subscription.next_msg(timeout=10)
            assert (message.headers, message.data) == (HEADERS, b"payload")
            await subscription.unsubscribe()
        with pytest.raises(nats.errors.Error):
            await lean.publish("headers", b"", headers={"a": "b\r\nPUB x 0\r\n"})
    finally:
        await plain.close()
        await lean.close()
