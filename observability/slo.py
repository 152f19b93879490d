"""Burn-rate alerts from service level objectives: `python -m observability.slo [--check]`.

Reads `slo.yaml`, writes `prometheus/slo.yml`. For each objective the share of bad events is
recorded over seven windows; an alert fires when a long window says that the budget burns too fast,
and a short one that it still does (The Site Reliability Workbook, chapter 5, its sixth way).
`--check` writes nothing, and ends with 1 when the file is stale. PyYAML is a tool of development.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["RULES", "SOURCE", "Objective", "main", "read", "render"]

SOURCE: Final = Path(__file__).parent / "slo.yaml"
RULES: Final = Path(__file__).parent / "prometheus" / "slo.yml"

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


@dataclass(frozen=True)
class Burn:
    """Too fast: the budget of 30 days burns at `times` the even speed over both windows."""

    times: float
    long: str
    short: str


# A page: 2 % of the month's budget in an hour, or 5 % in six. A ticket: 10 % in a day or in three.
PAGE: Final = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
TICKET: Final = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))

# Fewer calls say nothing about a share of them.
_LEAST_CALLS: Final = {"page": ("1h", 20), "ticket": ("1d", 100)}


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One promise of `slo.yaml`, in the words of that file."""

    name: str
    promise: str
    objective: float
    alert: str
    by: Sequence[str] = ()
    requests: str = ""
    of: str = ""
    failed: str = ""
    slower_than_s: float | None = None
    state: str = ""
    bad: str = ""

    def __post_init__(self) -> None:
        kinds = [bool(self.failed), self.slower_than_s is not None, bool(self.state and self.bad)]
        if kinds.count(True) != 1 or not 0 < self.objective < 1:
            raise ValueError(f"{self.name}: one of failed, slower_than_s, state; objective in 0…1")

    @property
    def budget(self) -> float:
        """The share of events that may be bad."""
        return round(1 - self.objective, 9)

    def ratio(self, window: str) -> str:
        """The share of bad events in a window, in PromQL."""
        if self.state:
            return f'avg_over_time(slo:bad{{slo="{self.name}"}}[{window}])'
        total = self._calls("count", self.of, window)
        if self.slower_than_s is not None:
            quick = f'{self.of},le="{self.slower_than_s!r}"'
            return f"1 - {self._calls('bucket', quick, window)} / ({total} > 0)"
        bad = self._calls("count", f"{self.of},{self.failed}", window)
        # Without a failure there is no series of failures.
        return f"({bad} or 0 * {total}) / ({total} > 0)"

    def enough(self, severity: str) -> str:
        """The condition that there were calls enough to speak of; empty for a state."""
        if self.state:
            return ""
        window, least = _LEAST_CALLS[severity]
        calls = f"sum{self._by()} (increase({self.requests}_count{{{self.of}}}[{window}]))"
        return f" and on ({', '.join(self.by)}) {calls} > {least}"

    def _calls(self, part: str, matchers: str, window: str) -> str:
        return f"sum{self._by()} (rate({self.requests}_{part}{{{matchers}}}[{window}]))"

    def _by(self) -> str:
        return f" by ({', '.join(self.by)})" if self.by else ""


def read(source: Path = SOURCE) -> list[Objective]:
    """Reads the objectives. Raises `TypeError` or `ValueError` for what is not one."""
    return [Objective(**each) for each in yaml.safe_load(source.read_text())["slos"]]


def render(objectives: Sequence[Objective]) -> str:
    """Writes the rules for Prometheus."""
    groups = [
        {"name": f"slo-{each.name}", "interval": "15s", "rules": list(_rules(each))}
        for each in objectives
    ]
    text: str = yaml.safe_dump({"groups": groups}, sort_keys=False, width=10_000)
    return f"# Made of slo.yaml by `python -m observability.slo`; not to be edited.\n{text}"


def _rules(slo: Objective) -> Iterator[Mapping[str, Any]]:
    records = {f"slo:bad:ratio_{window}": slo.ratio(window) for window in WINDOWS}
    if slo.state:
        records = {"slo:bad": f"{slo.state} {_bool(slo.bad)}", **records}
    records["slo:budget"] = f"vector({slo.budget})"
    for name, expression in records.items():
        yield {"record": name, "expr": expression, "labels": {"slo": slo.name}}
    for severity, burns in (("page", PAGE), ("ticket", TICKET)):
        yield {
            "alert": slo.alert,
            "expr": f"({' or '.join(_burns(slo, burn) for burn in burns)}){slo.enough(severity)}",
            "labels": {"severity": severity, "slo": slo.name},
            "annotations": {
                "summary": _summary(slo),
                "promise": slo.promise,
                "runbook": f"docs/runbooks/{slo.alert}.md",
            },
        }


def _burns(slo: Objective, burn: Burn) -> str:
    share = f"{burn.times * slo.budget:.6g}"
    long, short = (
        f'slo:bad:ratio_{window}{{slo="{slo.name}"}} > {share}'
        for window in (burn.long, burn.short)
    )
    return f"({long} and {short})"


def _summary(slo: Objective) -> str:
    whose = " ".join(f"{{{{ $labels.{label} }}}}" for label in slo.by)
    return f"{whose or slo.name}: {{{{ $value | humanizePercentage }}}} of it is bad"


def _bool(condition: str) -> str:
    operator, value = condition.split()
    return f"{operator} bool {value}"


def main(arguments: Sequence[str]) -> int:
    """Writes the rules, or checks them; gives the exit code."""
    text = render(read())
    if "--check" in arguments:
        return int(not RULES.exists() or RULES.read_text() != text)
    RULES.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
