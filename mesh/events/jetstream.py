"""The connection to NATS, kept in the background, and the JetStream API over it.

A `Connection` is one TCP connection, and never comes back: whoever used it starts over with the
next one, so that no half-sent publish and no stale subscription survives. `Jetstream` makes the
next one, with a growing, jittered pause, for as long as it runs. A server that is frozen rather
than gone is noticed by pings: within twelve seconds, if they are not set otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import nats.errors

from mesh.errors import Transient
from mesh.ids import new_id

from .backoff import Backoff
from .client import LeanClient

__all__ = ["ApiError", "Connection", "Delivery", "Jetstream", "Request"]

_CONNECT_S: Final = 3.0
_CLOSE_S: Final = 2.0
_NO_RESPONDERS: Final = "503"

logger = logging.getLogger(__name__)


class Delivery(Protocol):
    """A message as the connection hands it over."""

    @property
    def subject(self) -> str: ...
    @property
    def reply(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def headers(self) -> Mapping[str, str] | None: ...


@dataclass(frozen=True, slots=True)
class Request:
    """A message that wants an answer."""

    subject: str
    payload: bytes = b""
    headers: dict[str, str] | None = None


class ApiError(Exception):
    """JetStream said no. `code` is its `err_code`, such as 10059: there is no such stream."""

    STREAM_NOT_FOUND: Final = 10059
    WRONG_PLACE: Final = 10071
    STREAM_FULL: Final = 10077

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.description = description


class Connection:
    """One connection. When it is lost, every wait ends with `Transient`: NATS_UNAVAILABLE."""

    def __init__(self, client: Any, inbox: str) -> None:
        self._client = client
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Delivery]] = {}
        self.lost = asyncio.Event()

    async def send(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Sends a message. That it was taken is known only from an answer."""
        if self.lost.is_set():
            raise _unavailable("the connection to NATS was lost")
        try:
            await self._client.publish(subject, payload, reply, headers)
        except (nats.errors.Error, OSError) as error:
            raise _unavailable(f"NATS takes no messages: {type(error).__name__}") from error

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: dict[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> Delivery:
        """Sends a message and waits for the answer. Raises as `request_all` does."""
        (answer,) = await self.request_all([Request(subject, payload, headers)], timeout_s)
        return answer

    async def request_all(
        self, requests: Sequence[Request], timeout_s: float = 5.0
    ) -> list[Delivery]:
        """Sends messages one right after the other, and waits for the answers to all.

        Raises `Transient` if one is missing: which of the messages were taken is then unknown.
        """
        loop = asyncio.get_running_loop()
        waiting: dict[str, asyncio.Future[Delivery]] = {}
        try:
            for request in requests:
                reply = self.new_inbox()
                self._waiting[reply] = waiting[reply] = loop.create_future()
                await self.send(
                    request.subject, request.payload, reply=reply, headers=request.headers
                )
            async with asyncio.timeout(timeout_s):
                answers = await asyncio.gather(*waiting.values())
        except TimeoutError:
            raise _unavailable(f"NATS did not answer within {timeout_s} s") from None
        finally:
            for reply, answer in waiting.items():
                del self._waiting[reply]
                if not answer.cancel() and not answer.cancelled():
                    answer.exception()
        for message in answers:
            if message.headers and message.headers.get("Status") == _NO_RESPONDERS:
                raise _unavailable("nobody at NATS answers: no such stream, or no JetStream")
        return answers

    async def api(self, call: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """Calls the JetStream API, such as `STREAM.INFO.ACCOUNTS`. Raises `ApiError`."""
        payload = b"" if body is None else json.dumps(body).encode()
        answer = await self.request(f"$JS.API.{call}", payload)
        return read_answer(answer.data)

    async def subscribe(self, subject: str, take: Callable[[Delivery], None]) -> Any:
        """Has `take` called with every message of a subject. It must not raise, nor wait."""

        async def callback(message: Delivery) -> None:
            take(message)

        try:
            return await self._client.subscribe(subject, cb=callback)
        except (nats.errors.Error, OSError) as error:
            raise _unavailable(f"NATS takes no subscription: {type(error).__name__}") from error

    async def unsubscribe(self, subscription: Any) -> None:
        """Ends a subscription. Does nothing if the connection is lost."""
        with contextlib.suppress(nats.errors.Error, OSError):
            await subscription.unsubscribe()

    def new_inbox(self) -> str:
        """Makes a subject to which answers may be sent."""
        return f"{self._inbox}.{next(self._numbers)}"

    async def open(self) -> None:
        """Starts to listen for answers."""

        def take(message: Delivery) -> None:
            answer = self._waiting.get(message.subject)
            if answer is not None and not answer.done():
                answer.set_result(message)

        await self.subscribe(f"{self._inbox}.*", take)

    def lose(self) -> None:
        """Tells everybody who waits that nothing will come any more."""
        self.lost.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_unavailable("the connection to NATS was lost"))

    async def watch(self, ping_every_s: float, ping_timeout_s: float) -> None:
        """Returns when the connection is lost, or does not answer a ping."""
        while not self.lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ping_every_s):
                    await self.lost.wait()
            if not self.lost.is_set():
                try:
                    await self._client.flush(timeout=ping_timeout_s)
                except (nats.errors.Error, OSError):
                    self.lose()

    async def close(self) -> None:
        """Ends the connection, which must not take long."""
        self.lose()
        with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._client.close()


class Jetstream:
    """Keeps a connection to NATS for a process; starting it never waits for the server.

    `service` names it, and its inbox. A server whose URL begins with `tls` must have a certificate
    by one of `roots`, a file in PEM; by the system's own, where there is none.
    """

    def __init__(
        self,
        url: str,
        *,
        service: str,
        roots: Path | None = None,
        ping_every_s: float = 4.0,
        ping_timeout_s: float = 8.0,
    ) -> None:
        self._url = url
        self._service = service
        self._roots = roots
        self._ping_every_s = ping_every_s
        self._ping_timeout_s = ping_timeout_s
        self._current: asyncio.Future[Connection] | None = None
        self._problem = "not connected yet"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to connect, in the background."""
        self._current = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(), name="nats")

    async def stop(self) -> None:
        """Closes the connection. Whoever waits for it is cancelled."""
        if self._task is not None:
            # The client swallows a cancellation now and then.
            while not self._task.done():
                self._task.cancel()
                await asyncio.wait((self._task,), timeout=0.1)
            self._task = None
        if self._current is not None:
            self._current.cancel()

    async def connection(self) -> Connection:
        """Gives the connection, when there is one."""
        if self._current is None:
            raise RuntimeError("Jetstream was not started")
        if self._current.done():
            return self._current.result()
        return await asyncio.shield(self._current)

    def missing(self) -> str | None:
        """Says what is wrong with the connection, if anything."""
        return self._problem or None

    async def _keep(self) -> None:
        backoff = Backoff(first_s=0.05, cap_s=2.0)
        while True:
            try:
                connection = await self._connect()
            except (nats.errors.Error, OSError, TimeoutError, Transient) as error:
                self._report(f"{type(error).__name__} at {self._url.rpartition('@')[2]}")
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            await self._use(connection)

    async def _use(self, connection: Connection) -> None:
        """Offers a connection until it is lost."""
        assert self._current is not None
        self._report("")
        self._current.set_result(connection)
        try:
            await connection.watch(self._ping_every_s, self._ping_timeout_s)
        finally:
            self._report("the connection was lost")
            self._current = asyncio.get_running_loop().create_future()
            await connection.close()

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            logger.info("nats: %s", problem or "connected")
        self._problem = problem

    async def _connect(self) -> Connection:
        async def on_closed() -> None:
            connection.lose()

        async def on_error(error: Exception) -> None:
            logger.debug("nats: %s", error)

        options: dict[str, Any] = {}
        if self._url.startswith("tls:"):
            # Read each time: roots follow one another.
            options["tls"] = await asyncio.to_thread(ssl.create_default_context, cafile=self._roots)
        client: Any = LeanClient()
        connection = Connection(client, f"_INBOX_{self._service}.{new_id()}")
        try:
            async with asyncio.timeout(2 * _CONNECT_S):
                await client.connect(
                    self._url,
                    name=self._service,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0.05,
                    connect_timeout=_CONNECT_S,
                    pending_size=0,
                    closed_cb=on_closed,
                    error_cb=on_error,
                    **options,
                )
                await connection.open()
        except BaseException:
            await connection.close()
            raise
        return connection


def read_answer(data: bytes) -> dict[str, Any]:
    """Reads an answer of JetStream. Raises `ApiError` if it is a refusal."""
    try:
        answer: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise _unavailable("NATS answered with something else than JSON") from error
    if refusal := answer.get("error"):
        raise ApiError(refusal.get("err_code", 0), refusal.get("description", "refused"))
    return answer


def _unavailable(message: str) -> Transient:
    return Transient("NATS_UNAVAILABLE", message)
