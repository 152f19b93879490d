"""The examples of docs/api.md, run in their order against the bank."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from .bank import ROOT, Customer, a_customer, eventually

DOCUMENT = ROOT / "docs/api.md"
BLOCK = re.compile(r"^```http\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"\{([a-zA-Z]+)\}")
ANYTHING = "…"
NOT_YET = (202, 404, 422)
# Names that stand for another thing each time they are answered.
RENEWED = ("accessToken", "refreshToken")


@dataclass(frozen=True)
class Example:
    """A request, and what is answered: a status, and members that the answer has among others."""

    line: int
    method: str
    path: str
    body: str
    status: int
    answer: str


class Differs(Exception):
    """What is answered is not what the example says."""


class Reader:
    """Runs examples; what one has answered is known to those after it, by name."""

    def __init__(self, http: httpx.AsyncClient, known: dict[str, str]) -> None:
        self.http = http
        self.known = known

    def filled(self, text: str) -> str:
        return PLACE.sub(lambda place: self.known.get(place[1], place[0]), text)

    async def run(self, example: Example) -> None:
        headers = {"Idempotency-Key": uuid4().hex}
        if token := self.known.get("accessToken"):
            headers["Authorization"] = f"Bearer {token}"
        body = json.loads(self.filled(example.body)) if example.body else None
        wanted = json.loads(example.answer) if example.answer else None
        last = ""

        async def answered() -> bool:
            nonlocal last
            answer = await self.http.request(
                example.method, self.filled(example.path), json=body, headers=headers
            )
            last = f"{answer.status_code} {answer.text}"
            if answer.status_code != example.status:
                # What an event brings may not have come yet.
                assert answer.status_code in NOT_YET, f"line {example.line}: {last}"
                return False
            try:
                self.compare(wanted, answer.json() if wanted is not None else None)
            except Differs as difference:
                last = f"{difference} in {last}"
                assert example.method == "GET", f"line {example.line}: {last}"
                return False
            return True

        try:
            await eventually(answered, "the example")
        except AssertionError:
            pytest.fail(f"{DOCUMENT.name}, line {example.line}: {last}")

    def compare(self, wanted: Any, got: Any) -> None:
        """Holds an answer against the members that it must have. Raises `Differs`."""
        match wanted:
            case dict():
                for name, value in wanted.items():
                    if not isinstance(got, dict) or name not in got:
                        raise Differs(name)
                    self.compare(value, got[name])
            case list():
                if not isinstance(got, list) or len(got) < len(wanted):
                    raise Differs(f"{len(wanted)} of something")
                for each, there in zip(wanted, got, strict=False):
                    self.compare(each, there)
            case str() if place := PLACE.fullmatch(wanted):
                if self.known.get(place[1], got) != got and place[1] not in RENEWED:
                    raise Differs(f"{wanted} is {self.known[place[1]]!r}")
                self.known[place[1]] = got
            case _ if wanted not in (got, ANYTHING):
                raise Differs(f"{wanted!r}")


def examples() -> Iterator[Example]:
    text = DOCUMENT.read_text()
    for found in BLOCK.finditer(text):
        asked, _, answered = found[1].partition("\n→ ")
        request, _, body = asked.partition("\n")
        status, _, answer = answered.partition("\n")
        method, _, path = request.partition(" ")
        line = text.count("\n", 0, found.start()) + 1
        yield Example(line, method, path, body.strip(), int(status), answer.strip())


@pytest.fixture
async def payee(http: httpx.AsyncClient) -> Customer:
    return await a_customer(http)


async def test_every_example_of_the_routes_is_answered_as_it_says(
    http: httpx.AsyncClient, payee: Customer
) -> None:
    known = {
        "email": f"{uuid4().hex}@example.com",
        "payee": payee.account_id,
        "tomorrow": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
    }
    reader = Reader(http, known)

    found = list(examples())

    assert len(found) > 30
    for example in found:
        await reader.run(example)
