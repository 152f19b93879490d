"""The checks of the events: the streams, who reads them, what was not sent, what was given up."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

from mesh.cli.findings import Examination, Finding, Level
from mesh.cli.sample import Sample, look, pages_of
from mesh.supervisor.problem import Problem
from mesh.supervisor.running import Running

__all__ = ["clock", "event_examinations"]

PATIENCE_S = 5.0
LAG = 100
BAD_LAG = 1_000
OLD_S = 5.0
BAD_AGE_S = 60.0
FULL_PART = 0.8
# The broker's time is read to the second.
CLOCK_S = 2.0


def event_examinations(running: Running) -> dict[str, Examination]:
    """What is looked at, by name."""
    samples = cache(partial(_samples, running))
    return {
        "streams": partial(_streams, running),
        "consumers": partial(_consumers, running),
        "projections": lambda: _projections(samples()),
        "outbox": lambda: _outbox(samples()),
        "dead letters": lambda: _dead_letters(samples()),
    }


def clock(running: Running) -> str:
    """Compares this machine's clock with the broker's."""
    apart_s = _broker(running).apart_s
    if apart_s > CLOCK_S:
        why = f"this machine and the broker are {apart_s:.1f} s apart"
        raise Problem("clocks disagree", why, "let NTP set both clocks")
    return "this machine and the broker agree"


def _samples(running: Running) -> list[Sample]:
    return list(look(pages_of(running)).values())


def _streams(running: Running) -> Iterator[Finding]:
    streams = _broker(running).streams
    for stream in streams:
        config, state = stream["config"], stream["state"]
        text = f"{config['name']}: {state['messages']} events, {state['bytes'] / 2**20:.1f} MB"
        most = config.get("max_bytes", -1)
        if most > 0 and state["bytes"] > most * FULL_PART:
            text += f" of {most / 2**20:.0f} MB"
            hint = f"raise max_bytes of {config['name']}"
            yield Finding("streams", text, Level.WARNING, hint)
        else:
            yield Finding("streams", text)
    if not streams:
        yield Finding("streams", "there are none yet", Level.WARNING, "./bank status")


def _consumers(running: Running) -> Iterator[Finding]:
    # Projections read without a durable: what their own processes say of them is told apart.
    consumers = [each for each in _broker(running).consumers if each["config"].get("durable_name")]
    for consumer in consumers:
        waiting = consumer["num_pending"] + consumer["num_ack_pending"]
        name = f"{consumer['stream_name']} {consumer['name']}"
        if waiting > LAG:
            level = Level.ERROR if waiting > BAD_LAG else Level.WARNING
            yield Finding(
                "consumers", f"{name} is {waiting} events behind", level, "./bank events ls"
            )
    most = max((each["num_pending"] for each in consumers), default=0)
    yield Finding("consumers", f"{len(consumers)} read; the last of them is {most} events behind")


def _projections(samples: list[Sample]) -> Iterator[Finding]:
    lags = [
        (lag, f"{sample.page.instance} {labels.get('mesh_projection', '')}")
        for sample in samples
        for labels, lag in sample.figures.of("mesh_projection_lag")
    ]
    for lag, name in lags:
        if lag > LAG:
            level = Level.ERROR if lag > BAD_LAG else Level.WARNING
            text, hint = f"{name} is {lag:.0f} events behind", f"./bank logs {name.split()[0]}"
            yield Finding("projections", text, level, hint)
    most = max((lag for lag, _ in lags), default=0.0)
    yield Finding("projections", f"{len(lags)} kept; the last of them is {most:.0f} events behind")


def _outbox(samples: list[Sample]) -> Iterator[Finding]:
    oldest = 0.0
    for sample in samples:
        age = max((age for _, age in sample.figures.of("mesh_outbox_age_seconds")), default=0.0)
        oldest = max(oldest, age)
        if age > OLD_S:
            level = Level.ERROR if age > BAD_AGE_S else Level.WARNING
            text = f"{sample.page.instance} has an event that waits for {age:.0f} s"
            yield Finding("outbox", text, level, f"./bank logs {sample.page.instance}")
    yield Finding("outbox", f"the oldest event that is not sent waits for {oldest:.1f} s")


def _dead_letters(samples: list[Sample]) -> Iterator[Finding]:
    parked = {
        labels.get("messaging_consumer_group_name", ""): count
        for sample in samples
        for labels, count in sample.figures.of("mesh_dead_letters")
    }
    for consumer, count in parked.items():
        if count:
            text = f"{consumer} has given up on {count:.0f}"
            yield Finding("dead letters", text, Level.ERROR, f"./bank events dlq ls {consumer}")
    if not any(parked.values()):
        yield Finding("dead letters", "none")


@dataclass(frozen=True)
class _Broker:
    """What the broker lists, and how far its clock is from ours."""

    streams: list[dict[str, Any]]
    consumers: list[dict[str, Any]]
    apart_s: float


@cache
def _broker(running: Running) -> _Broker:
    """Asks the broker. Raises Problem when it does not answer."""
    return asyncio.run(_listed(running))


async def _listed(running: Running) -> _Broker:
    import nats

    from mesh.cli.asking import quiet_asyncio
    from mesh.cli.control import OPERATOR, operator_identity
    from mesh.supervisor.nats import nats_url

    url = running.endpoints.nats

    async def ask(subject: str, key: str) -> list[dict[str, Any]]:
        answer = await client.request(f"$JS.API.{subject}", b"{}", timeout=PATIENCE_S)
        found: list[dict[str, Any]] = json.loads(answer.data).get(key) or []
        return found

    async def silent(error: Exception) -> None:
        """What goes wrong is raised where it is asked for."""

    quiet_asyncio()
    try:
        client = await nats.connect(
            nats_url(running.data, url, OPERATOR),
            tls=ssl.create_default_context(cafile=operator_identity(running).roots),
            inbox_prefix=f"_INBOX_{OPERATOR}",
            connect_timeout=PATIENCE_S,
            allow_reconnect=False,
            error_cb=silent,
        )
    except (OSError, nats.errors.Error) as error:
        why = f"{url}: {error or type(error).__name__}"
        raise Problem("the broker does not answer", why, "./bank logs nats") from None
    try:
        asked = datetime.now(UTC)
        streams = await ask("STREAM.LIST", "streams")
        answered = datetime.now(UTC)
        told = [datetime.fromisoformat(stream["ts"][:19] + "+00:00") for stream in streams]
        late = (max(asked - at, at - answered) for at in told)
        names = [stream["config"]["name"] for stream in streams]
        # A bucket is a stream of its own kind, which nobody consumes.
        kept = [name for name in names if not name.startswith("KV_")]
        lists = [await ask(f"CONSUMER.LIST.{name}", "consumers") for name in kept]
        consumers = [consumer for found in lists for consumer in found]
        return _Broker(
            streams, consumers, max((each.total_seconds() for each in late), default=0.0)
        )
    except nats.errors.Error as error:
        why = f"{url}: {error or type(error).__name__}"
        raise Problem("JetStream does not answer", why, "./bank logs nats") from None
    finally:
        await client.close()
