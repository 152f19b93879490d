"""How often one may ask: buckets by person, API key, address and what a request is about.

What a route allows stands in its contract (`meshapi.v1.Policy.rates`); beside it, every person and
every address has a rate for all routes together. A bucket is one number, the time at which it is
full again (the generic cell rate algorithm, ITU-T I.371): the table is bounded, and what was not
touched for longest goes first.

Each process counts for itself. What a client is told follows draft-ietf-httpapi-ratelimit-headers.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from starlette.requests import Request

from mesh.rest.problem import Problem
from meshapi.v1 import options_pb2
from meshapi.v1.tokens_pb2 import KeyPlan

__all__ = ["Addresses", "Rate", "Rates", "subject"]

MAX_BUCKETS = 100_000

# What nobody but an attacker, or a loop gone wrong, ever asks for. Every route counts.
PER_PERSON = (200.0, 400)
PER_ADDRESS = (1_000.0, 2_000)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second, `burst` of them at once. `name` tells buckets and clients what is counted.

    `field` is the field of the request whose value is counted together with the address; empty:
    the address alone. `only_refused`: only what is answered with UNAUTHENTICATED counts.
    """

    name: str
    per_second: float
    burst: int
    field: str = ""
    only_refused: bool = False

    @property
    def policy(self) -> str:
        """What a client is told of it: how many in how many seconds."""
        return f'"{self.name}";q={self.burst};w={math.ceil(self.burst / self.per_second)}'


class Rates:
    """The buckets of one process.

    `scale` makes all rates larger or smaller; zero switches them off. `clock` counts seconds.
    """

    def __init__(self, scale: float = 1.0, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._scale = scale
        self._clock = clock
        self._full_at: dict[tuple[str, str], float] = {}
        self.person = self._scaled(Rate("person", *PER_PERSON))
        self.address = self._scaled(Rate("address", *PER_ADDRESS))

    def of(self, policy: options_pb2.Policy, method: str) -> tuple[Rate, ...]:
        """Reads what a contract allows one caller of a method."""
        if not self._scale:
            return ()
        return tuple(
            self._scaled(
                Rate(
                    name=f"{method}-{number}",
                    per_second=rate.per_minute / 60,
                    burst=rate.burst or rate.per_minute,
                    field=rate.field,
                    only_refused=rate.only_refused,
                )
            )
            for number, rate in enumerate(policy.rates, 1)
        )

    def of_key(self, plan: KeyPlan) -> Rate:
        """Reads what the plan of an API key allows: what was agreed on is not scaled."""
        return Rate("key", float(plan.per_second), plan.burst)

    def _scaled(self, rate: Rate) -> Rate:
        burst = max(1, round(rate.burst * self._scale))
        return replace(rate, per_second=rate.per_second * self._scale, burst=burst)

    def take(self, rate: Rate, who: str, count: int = 1) -> str:
        """Takes from a bucket; gives what the `RateLimit` header says of the rest.

        Raises `Problem` 429 with `Retry-After` when it is empty, also if nothing is to be taken.
        """
        if not self._scale:
            return ""
        now, bucket = self._clock(), (rate.name, who)
        step = 1 / rate.per_second
        full_at = max(self._full_at.pop(bucket, now), now)
        left = rate.burst - (full_at - now) / step
        # What was added up in fractions is off by a little.
        if left < 1 - 1e-6:
            self._full_at[bucket] = full_at
            raise _exceeded(rate, (1 - left) * step)
        full_at += count * step
        if full_at > now:
            self._full_at[bucket] = full_at
        if len(self._full_at) > MAX_BUCKETS:
            del self._full_at[next(iter(self._full_at))]
        return f'"{rate.name}";r={round(left) - count};t={math.ceil(full_at - now)}'


def _exceeded(rate: Rate, wait_s: float) -> Problem:
    seconds = max(1, math.ceil(wait_s))
    headers = {
        "Retry-After": str(seconds),
        "RateLimit-Policy": rate.policy,
        "RateLimit": f'"{rate.name}";r=0;t={seconds}',
    }
    return Problem(429, "RATE_LIMITED", "This was asked too often; wait a little.", headers=headers)


class Addresses:
    """Tells from which address a request comes: the socket's, unless a proxy that is trusted speaks
    for another (`X-Forwarded-For`, from the right).

    `proxies` are networks, with commas. Raises `ValueError` for one that is none.
    """

    def __init__(self, proxies: str = "") -> None:
        self._proxies = [ipaddress.ip_network(each.strip()) for each in proxies.split(",") if each]
        self.is_proxy = lru_cache(1_024)(self._is_proxy)

    def of(self, request: Request) -> str:
        """Names the client of a request: an IPv4 address, or the /64 of an IPv6 address."""
        client = request.client.host if request.client else ""
        if self._proxies and self.is_proxy(client):
            for part in reversed(request.headers.get("x-forwarded-for", "").split(",")):
                if _parsed(part.strip()) is None:
                    break
                client = part.strip()
                if not self.is_proxy(client):
                    break
        return _network(client)

    def _is_proxy(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)


def subject(request: object, field: str) -> str:
    """Gives what stands for a field's value: addresses of people are not kept, not even here."""
    value = str(getattr(request, field)).strip().casefold()
    return hashlib.blake2b(value.encode(), digest_size=16).hexdigest()


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        return None


@lru_cache(4_096)
def _network(address: str) -> str:
    parsed = _parsed(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
