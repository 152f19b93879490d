"""The trace store's pages in a real browser: Chromium, without a window."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from observability.tests.conftest import Addresses

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
    "--window-size=1200,900", "--virtual-time-budget=8000",
]  # fmt: skip
MS = 1_000_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@dataclass
class Browser:
    """Opens pages of a store and gives what stands on them, once their scripts have run."""

    store: str
    profile: Path

    def see(self, path: str) -> str:
        command = [CHROMIUM or "", *FLAGS, f"--user-data-dir={self.profile}", "--dump-dom"]
        done = subprocess.run(
            [*command, f"{self.store}{path}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout


@pytest.fixture
def browser(embedded: Addresses, tmp_path: Path) -> Browser:
    return Browser(embedded.query, tmp_path)


def pays(store: Addresses, ledger_ms: int, *, fails: bool = False) -> str:
    """Records a payment: the edge asks transfers, which asks its database; statements hears it."""
    trace, start, end = secrets.token_hex(16), time.time_ns() - 60_000 * MS, 20 + ledger_ms

    def span(
        number: int, above: int, service: str, name: str, kind: int, since: int, until: int
    ) -> dict[str, Any]:
        return {
            "resource": {"attributes": [text("service.name", service)]},
            "scopeSpans": [{"spans": [{
                "traceId": trace, "spanId": f"{number:016x}",
                "parentSpanId": f"{above:016x}" if above else "", "name": name, "kind": kind,
                "startTimeUnixNano": str(start + since * MS),
                "endTimeUnixNano": str(start + until * MS),
            }]}],
        }  # fmt: skip

    groups = [
        span(1, 0, "edge-p", "POST /v1/transfers", 2, 0, end),
        span(2, 1, "transfers-p", "pay", 2, 2, end - 2),
        span(3, 2, "transfers-p", "INSERT transfers", 3, 4, 4 + ledger_ms),
        span(4, 2, "transfers-p", "send Paid", 4, end - 4, end - 3),
        span(5, 4, "statements-p", "process Paid", 5, end, end + 5),
    ]
    spans = [group["scopeSpans"][0]["spans"][0] for group in groups]
    spans[4]["links"] = [{"traceId": trace, "spanId": spans[3]["spanId"]}]
    if fails:
        spans[1] |= {"status": {"code": 2}, "attributes": [text("error.type", "UNAVAILABLE")]}
    body = json.dumps({"resourceSpans": groups}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{store.otlp}/v1/traces", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
    return trace


def text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def words_of(page: str) -> str:
    """The text of a page, as one line."""
    visible = re.sub(r"<(script|style|title)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", visible).split())


def test_a_trace_is_drawn_with_its_failure_its_link_and_its_critical_path(
    embedded: Addresses, browser: Browser
) -> None:
    trace = pays(embedded, 30, fails=True)

    page = browser.see(f"/trace/{trace}")

    words = words_of(page)
    assert "5 spans · 3 services · 1 failed" in words
    assert "UNAVAILABLE" in words
    assert "⇢ statements-p process Paid" in words
    assert page.count('class="link"') == 1
    # The edge, transfers, and the sending, which ends last: never what goes on after the answer.
    assert page.count('<rect class="critical"') == 3


def test_two_traces_are_compared_span_by_span(embedded: Addresses, browser: Browser) -> None:
    before, after = pays(embedded, 10), pays(embedded, 50)

    words = words_of(browser.see(f"/compare?before={before}&after={after}"))

    assert "transfers-p INSERT transfers 10.0ms 50.0ms +40.0ms" in words
    assert "statements-p process Paid 5.0ms 5.0ms +0µs" in words


def test_services_are_found_and_mapped(embedded: Addresses, browser: Browser) -> None:
    pays(embedded, 10)

    assert '<option value="edge-p">' in browser.see("/search")
    words = words_of(browser.see("/dependencies"))
    assert re.search(r"edge-p transfers-p \d+", words)
    assert re.search(r"transfers-p statements-p \d+", words)


def test_a_trace_that_is_not_there_is_said_to_be_missing(browser: Browser) -> None:
    assert "No traces found" in words_of(browser.see(f"/trace/{'ab' * 16}"))
