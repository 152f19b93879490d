"""How traffic is told on a command line: shares, headers, faults, steps, spans of time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from mesh.supervisor.problem import USAGE, Problem

if TYPE_CHECKING:
    from meshapi.v1 import policy_pb2 as pb

__all__ = ["bounds", "fault", "headers", "shares", "span", "steps"]

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEADER = re.compile(r"([^=~^]+)(?:(=|~=|\^=)(.*))?")


def span(text: str) -> timedelta:
    """Reads a span of time: `100ms`, `60s`, `5m`, `1h`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise _nonsense(text, "a span of time is a number with ms, s, m or h", "60s")
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def shares(words: Sequence[str]) -> list[pb.VersionWeight]:
    """Reads shares: `v1=90 v2=10`."""
    from meshapi.v1 import policy_pb2 as pb

    found = []
    for word in words:
        version, _, weight = word.partition("=")
        if not version or not weight.isdecimal():
            raise _nonsense(word, "a share is VERSION=WEIGHT", "v1=90 v2=10")
        found.append(pb.VersionWeight(version=version, weight=int(weight)))
    return found


def headers(words: Sequence[str]) -> list[pb.HeaderMatch]:
    """Reads headers: `x-a=whole`, `x-a^=beginning`, `x-a~=expression`, and `x-a` for any value."""
    from meshapi.v1 import policy_pb2 as pb

    found = []
    for word in words:
        parts = _HEADER.fullmatch(word)
        if parts is None:
            raise _nonsense(word, "a header is NAME, NAME=VALUE, NAME^=VALUE or NAME~=RE", "x-a=b")
        name, how, value = parts[1].lower(), parts[2], parts[3]
        match = pb.HeaderMatch(name=name)
        if how is None:
            match.present = True
        elif how == "=":
            match.exact = value
        elif how == "^=":
            match.prefix = value
        else:
            match.regex = value
        found.append(match)
    return found


def fault(words: Sequence[str]) -> pb.Fault:
    """Reads a fault: `abort=UNAVAILABLE:10% delay=100ms:50%`; without a percentage, all calls."""
    from meshapi.v1 import policy_pb2 as pb

    told = pb.Fault()
    for word in words:
        kind, _, rest = word.partition("=")
        what, _, percent = rest.partition(":")
        if kind == "abort" and what:
            told.abort = what.upper()
            told.abort_percent = _percent(percent, word)
        elif kind == "delay":
            told.delay.FromTimedelta(span(what))
            told.delay_percent = _percent(percent, word)
        else:
            why = "a fault is abort=STATUS:PERCENT or delay=SPAN:PERCENT"
            raise _nonsense(word, why, "abort=UNAVAILABLE:10% delay=100ms:50%")
    return told


def steps(text: str) -> list[pb.CanaryStep]:
    """Reads the steps of a canary: `5:30s,25:1m,50:1m`."""
    from meshapi.v1 import policy_pb2 as pb

    found = []
    for word in text.split(","):
        weight, _, hold = word.strip().partition(":")
        if not weight.rstrip("%").isdecimal():
            raise _nonsense(word, "a step is PERCENT:SPAN", "5:30s,25:1m,50:1m")
        step = pb.CanaryStep(weight=int(weight.rstrip("%")))
        step.hold.FromTimedelta(span(hold or "30s"))
        found.append(step)
    return found


def bounds(words: Sequence[str]) -> list[pb.MetricBound]:
    """Reads what must hold: `metric=0`, `metric=0..5`, `metric@service=0`."""
    from meshapi.v1 import policy_pb2 as pb

    found = []
    for word in words:
        name, _, allowed = word.partition("=")
        metric, _, service = name.partition("@")
        least, _, greatest = allowed.partition("..")
        try:
            bound = pb.MetricBound(
                metric=metric,
                service=service,
                least=float(least),
                greatest=float(greatest or least),
            )
        except ValueError:
            why = "what must hold is METRIC=VALUE or METRIC@SERVICE=LEAST..GREATEST"
            raise _nonsense(word, why, "bank_drift_minor_units@accounts=0") from None
        found.append(bound)
    return found


def _percent(text: str, word: str) -> float:
    try:
        return float(text.rstrip("%")) if text else 100.0
    except ValueError:
        raise _nonsense(word, f"{text!r} is no percentage", "abort=UNAVAILABLE:10%") from None


def _nonsense(word: str, why: str, remedy: str) -> Problem:
    return Problem(f"{word!r} makes no sense", why, remedy, USAGE)
