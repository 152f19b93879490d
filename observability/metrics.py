"""Metrics: OpenTelemetry's names and units, recorded in our own cells, served to Prometheus.

The OpenTelemetry SDK hashes the attributes at every record, which costs about 5 µs; a cell that
was bound to its attributes once costs 0.2 µs. What is recorded through the OpenTelemetry API by
others is served too, if `configure(foreign=True)`.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from . import logs, tracing
from .instruments import Counter, Gauge, Histogram, escape

__all__ = [
    "ADMISSION_REFUSED",
    "BANK_DRIFT",
    "CERTIFICATE_LEFT",
    "CERTIFICATE_LIFE",
    "CHECKS_AGE",
    "CHECKS_BROKEN",
    "DB_CLIENT_CONNECTIONS",
    "DB_CLIENT_OPERATION_DURATION",
    "DB_UNITS",
    "DEAD_LETTERS",
    "HTTP_SERVER_REQUEST_DURATION",
    "INSTRUMENTS",
    "LOGS_DROPPED",
    "LOOP_LAG",
    "MESSAGING_CLIENT_CONSUMED_MESSAGES",
    "MESSAGING_CLIENT_OPERATION_DURATION",
    "MESSAGING_CLIENT_SENT_MESSAGES",
    "MESSAGING_PROCESS_DURATION",
    "MIRRORED_CALLS",
    "OUTBOX_AGE",
    "OUTBOX_PENDING",
    "PEERS_REFUSED",
    "PROJECTION_LAG",
    "RPC_CLIENT_CALL_DURATION",
    "RPC_SERVER_CALL_DURATION",
    "RPC_SERVER_REPEATS",
    "SAGA_OLDEST_AGE",
    "SAGA_STEP_DURATION",
    "SAGA_UNFINISHED",
    "SPANS_DROPPED",
    "SPANS_EXPORTED",
    "SPANS_QUEUED",
    "TICKET_FIRST_ANSWER",
    "TICKET_TARGETS_MISSED",
    "configure",
    "expose",
    "render",
]

_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SECONDS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
)  # fmt: skip
_FAST_SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip

RPC_SERVER_CALL_DURATION: Final = Histogram(
    "rpc.server.call.duration",
    "s",
    "Duration of inbound calls, by the workload that calls.",
    ("rpc.method", "rpc.status_code", "mesh.caller"),
    _FAST_SECONDS,
)
RPC_CLIENT_CALL_DURATION: Final = Histogram(
    "rpc.client.call.duration",
    "s",
    "Duration of outbound calls, with all their attempts.",
    ("rpc.method", "rpc.status_code", "service.peer.name"),
    _FAST_SECONDS,
)
RPC_SERVER_REPEATS: Final = Counter(
    "mesh.rpc.server.repeats",
    "{call}",
    "Inbound calls that are not the first attempt of their caller.",
    ("rpc.method", "mesh.caller"),
)
ADMISSION_REFUSED: Final = Counter(
    "mesh.admission.refused",
    "{call}",
    "Calls refused because there was too much to do.",
    ("rpc.method", "error.type"),
)
MIRRORED_CALLS: Final = Counter(
    "mesh.mirrored.calls",
    "{call}",
    "Copies of calls, made or DROPPED for want of room.",
    ("rpc.method", "service.peer.name", "rpc.status_code"),
)
PEERS_REFUSED: Final = Counter(
    "mesh.peers.refused",
    "{peer}",
    "Callers refused for who they are: failed handshakes, and workloads that may not call.",
    ("error.type",),
)
HTTP_SERVER_REQUEST_DURATION: Final = Histogram(
    "http.server.request.duration",
    "s",
    "Duration of HTTP requests.",
    ("http.request.method", "http.route", "http.response.status_code"),
    _SECONDS,
)
DB_CLIENT_OPERATION_DURATION: Final = Histogram(
    "db.client.operation.duration",
    "s",
    "Duration of units of work, with their commits.",
    ("db.system.name", "db.query.summary", "error.type"),
    _FAST_SECONDS,
)
DB_CLIENT_CONNECTIONS: Final = Gauge(
    "db.client.connection.count",
    "{connection}",
    "Connections to the database, used and idle.",
    ("db.client.connection.state",),
)
DB_UNITS: Final = Gauge("mesh.db.units", "{unit}", "Units of work that wait or run.")
MESSAGING_CLIENT_SENT_MESSAGES: Final = Counter(
    "messaging.client.sent.messages",
    "{message}",
    "Messages the broker has acknowledged.",
    ("messaging.destination.template",),
)
MESSAGING_CLIENT_CONSUMED_MESSAGES: Final = Counter(
    "messaging.client.consumed.messages",
    "{message}",
    "Messages delivered to this process.",
    ("messaging.destination.template", "messaging.consumer.group.name"),
)
MESSAGING_CLIENT_OPERATION_DURATION: Final = Histogram(
    "messaging.client.operation.duration",
    "s",
    "Duration of sending a batch, until the broker has it on disk.",
    ("messaging.operation.name", "error.type"),
    _FAST_SECONDS,
)
MESSAGING_PROCESS_DURATION: Final = Histogram(
    "messaging.process.duration",
    "s",
    "Duration of handling a message.",
    ("messaging.destination.template", "messaging.consumer.group.name", "error.type"),
    _FAST_SECONDS,
)
BANK_DRIFT: Final = Gauge(
    "bank.drift.minor_units",
    "{minor_unit}",
    "How far money is off what it must be, in minor units.",
    ("check", "service"),
)
# Each target is a bound, so that how many answers came in time is one bucket.
TICKET_FIRST_ANSWER: Final = Histogram(
    "bank.support.time_to_first_answer",
    "s",
    "How long customers wait for the first answer to a ticket.",
    ("bank.ticket.priority",),
    (60.0, 300.0, 900.0, 3_600.0, 14_400.0, 28_800.0, 86_400.0),
)
TICKET_TARGETS_MISSED: Final = Counter(
    "bank.support.targets.missed",
    "{ticket}",
    "Tickets whose answer was overdue, and which were made more urgent for it.",
    ("bank.ticket.priority",),
)
CHECKS_BROKEN: Final = Gauge(
    "mesh.checks.broken",
    "{finding}",
    "Things of which something is not true that must always be.",
    ("mesh.check",),
)
CHECKS_AGE: Final = Gauge(
    "mesh.checks.age",
    "s",
    "Time since a check had looked at everything.",
    ("mesh.check",),
)
OUTBOX_AGE: Final = Gauge("mesh.outbox.age", "s", "Age of the oldest event that is not sent.")
OUTBOX_PENDING: Final = Gauge("mesh.outbox.pending", "{event}", "Events that are not sent.")
PROJECTION_LAG: Final = Gauge(
    "mesh.projection.lag", "{event}", "Events a projection has not seen.", ("mesh.projection",)
)
DEAD_LETTERS: Final = Gauge(
    "mesh.dead_letters", "{event}", "Parked events.", ("messaging.consumer.group.name",)
)
SAGA_UNFINISHED: Final = Gauge(
    "mesh.saga.unfinished", "{saga}", "Sagas that have begun and have not ended.", ("mesh.saga",)
)
SAGA_OLDEST_AGE: Final = Gauge(
    "mesh.saga.oldest.age", "s", "Age of the oldest unfinished saga.", ("mesh.saga",)
)
SAGA_STEP_DURATION: Final = Histogram(
    "mesh.saga.step.duration",
    "s",
    "Duration of a step's attempt.",
    ("mesh.saga", "mesh.saga.step", "mesh.saga.outcome"),
    _FAST_SECONDS,
)
CERTIFICATE_LEFT: Final = Gauge(
    "mesh.certificate.left", "s", "Time until the certificate of this workload expires."
)
CERTIFICATE_LIFE: Final = Gauge(
    "mesh.certificate.life", "s", "For how long the certificate was good when it was new."
)
LOOP_LAG: Final = Histogram(
    "mesh.loop.lag", "s", "How late the event loop comes to what is due.", (), _FAST_SECONDS
)
SPANS_EXPORTED: Final = Counter("mesh.spans.exported", "{span}", "Spans the collector has taken.")
SPANS_DROPPED: Final = Counter(
    "mesh.spans.dropped", "{span}", "Spans lost: collector away or full."
)
SPANS_QUEUED: Final = Gauge("mesh.spans.queued", "{span}", "Spans that wait for the collector.")
LOGS_DROPPED: Final = Counter("mesh.logs.dropped", "{line}", "Lines lost: nobody reads the output.")

INSTRUMENTS: Final[tuple[Counter | Gauge | Histogram, ...]] = (
    RPC_SERVER_CALL_DURATION,
    RPC_CLIENT_CALL_DURATION,
    RPC_SERVER_REPEATS,
    ADMISSION_REFUSED,
    MIRRORED_CALLS,
    PEERS_REFUSED,
    HTTP_SERVER_REQUEST_DURATION,
    DB_CLIENT_OPERATION_DURATION,
    DB_CLIENT_CONNECTIONS,
    DB_UNITS,
    MESSAGING_CLIENT_SENT_MESSAGES,
    MESSAGING_CLIENT_CONSUMED_MESSAGES,
    MESSAGING_CLIENT_OPERATION_DURATION,
    MESSAGING_PROCESS_DURATION,
    BANK_DRIFT,
    TICKET_FIRST_ANSWER,
    TICKET_TARGETS_MISSED,
    CHECKS_BROKEN,
    CHECKS_AGE,
    OUTBOX_AGE,
    OUTBOX_PENDING,
    PROJECTION_LAG,
    DEAD_LETTERS,
    SAGA_UNFINISHED,
    SAGA_OLDEST_AGE,
    SAGA_STEP_DURATION,
    CERTIFICATE_LEFT,
    CERTIFICATE_LIFE,
    LOOP_LAG,
    SPANS_EXPORTED,
    SPANS_DROPPED,
    SPANS_QUEUED,
    LOGS_DROPPED,
)

_STARTED: Final = time.time()
_target: Mapping[str, str] = {}
_foreign: Callable[[bool], bytes] | None = None


def configure(
    *, service: str, version: str = "", instance: str = "", foreign: bool = False
) -> None:
    """Says whose metrics these are.

    With `foreign`, metrics of code written for the OpenTelemetry API are collected by its SDK and
    served too; that takes about 75 ms to import.
    """
    global _target, _foreign
    _target = {
        "service_name": service,
        "service_version": version,
        "service_instance_id": instance,
    }
    if foreign and _foreign is None:
        _foreign = _collect_foreign()


def expose(accept: str = "") -> tuple[str, bytes]:
    """Writes all metrics as whoever asks can read them; gives the type of that, and the text.

    `accept` is an HTTP header. Exemplars exist only in OpenMetrics.
    """
    openmetrics = "application/openmetrics-text" in accept
    return _OPENMETRICS if openmetrics else _TEXT, render(openmetrics=openmetrics)


def render(*, openmetrics: bool = False) -> bytes:
    """Writes all metrics in Prometheus' text format 0.0.4, or in OpenMetrics' 1.0."""
    lines = [*_process(openmetrics), *_telemetry(openmetrics)]
    for instrument in INSTRUMENTS:
        lines += instrument.lines(openmetrics=openmetrics)
    text = "\n".join(lines).encode() + b"\n"
    if _foreign is not None:
        text += _foreign(openmetrics)
    return text + b"# EOF\n" if openmetrics else text


def _telemetry(openmetrics: bool) -> Iterator[str]:
    """Brings the counters of tracing and logging up to date, which count for themselves."""
    figures = tracing.figures()
    SPANS_EXPORTED.bind().raise_to(figures.exported)
    SPANS_DROPPED.bind().raise_to(figures.dropped)
    SPANS_QUEUED.set(figures.queued)
    LOGS_DROPPED.bind().raise_to(logs.dropped())
    labels = ",".join(f'{name}="{escape(value)}"' for name, value in _target.items())
    yield "# TYPE target info" if openmetrics else "# TYPE target_info gauge"
    yield f"target_info{{{labels}}} 1"


def _process(openmetrics: bool) -> Iterator[str]:
    times = os.times()
    yield f"# TYPE process_cpu_seconds{'' if openmetrics else '_total'} counter"
    yield f"process_cpu_seconds_total {times.user + times.system:.2f}"
    yield "# TYPE process_start_time_seconds gauge"
    yield f"process_start_time_seconds {_STARTED:.2f}"
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[1])
        descriptors = len(os.listdir("/proc/self/fd"))
    except OSError:
        return
    yield "# TYPE process_resident_memory_bytes gauge"
    yield f"process_resident_memory_bytes {pages * os.sysconf('SC_PAGE_SIZE')}"
    yield "# TYPE process_open_fds gauge"
    yield f"process_open_fds {descriptors}"


def _collect_foreign() -> Callable[[bool], bytes]:
    exporter = importlib.import_module("opentelemetry.exporter.prometheus")
    sdk = importlib.import_module("opentelemetry.sdk.metrics")
    api = importlib.import_module("opentelemetry.metrics")
    client = importlib.import_module("prometheus_client")
    newer = importlib.import_module("prometheus_client.openmetrics.exposition")
    registry = client.CollectorRegistry()
    reader = exporter.PrometheusMetricReader(disable_target_info=True, registry=registry)
    api.set_meter_provider(sdk.MeterProvider([reader], shutdown_on_exit=False))

    def collect(openmetrics: bool) -> bytes:
        writer = newer if openmetrics else client
        text: bytes = writer.generate_latest(registry)
        return text.removesuffix(b"# EOF\n")

    return collect
