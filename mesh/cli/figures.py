"""The metrics of processes, read from their Prometheus text, and what can be told from them.

Pure: text in, numbers out. Histograms are summed over processes bucket by bucket, and a percentile
is found within its bucket by straight line, as Prometheus' `histogram_quantile` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

__all__ = ["Distribution", "Figures", "Labels"]

Labels = Mapping[str, str]

_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_Key = tuple[str, frozenset[tuple[str, str]]]


class Figures:
    """The samples of one process at one moment, or what was added between two."""

    def __init__(self, samples: Mapping[_Key, float]) -> None:
        self._samples = samples

    @classmethod
    def parse(cls, text: str) -> Figures:
        """Reads the text format 0.0.4. Lines that it does not know are skipped."""
        samples: dict[_Key, float] = {}
        for line in text.splitlines():
            found = None if line.startswith("#") else _SAMPLE.fullmatch(line)
            if found is not None:
                labels = (
                    (name, _ESCAPED.sub(_unescaped, value))
                    for name, value in _LABEL.findall(found["labels"] or "")
                )
                samples[found["name"], frozenset(labels)] = float(found["value"])
        return cls(samples)

    def since(self, before: Figures) -> Figures:
        """What counters have grown by. One that shrank has begun again: all of it is new."""
        grown: dict[_Key, float] = {}
        for key, value in self._samples.items():
            earlier = before._samples.get(key, 0.0)
            grown[key] = value - earlier if value >= earlier else value
        return Figures(grown)

    def of(self, name: str) -> Iterator[tuple[Labels, float]]:
        """Gives the samples of a metric."""
        for (known, labels), value in self._samples.items():
            if known == name:
                yield dict(labels), value

    def distributions(self, name: str, *by: str) -> dict[tuple[str, ...], Distribution]:
        """Sums a histogram up by the values of some of its labels."""
        found: dict[tuple[str, ...], Distribution] = {}
        for labels, count in self.of(f"{name}_bucket"):
            key = tuple(labels.get(label, "") for label in by)
            found.setdefault(key, Distribution()).add_up_to(float(labels["le"]), count)
        return found


@dataclass
class Distribution:
    """How values are distributed: by upper bound, how many are no greater. Values are seconds."""

    up_to: dict[float, float] = field(default_factory=dict)

    @property
    def count(self) -> float:
        """How many values there are."""
        return self.up_to.get(inf, 0.0)

    def add_up_to(self, bound: float, count: float) -> None:
        """Adds values that are no greater than a bound."""
        self.up_to[bound] = self.up_to.get(bound, 0.0) + count

    def quantile(self, part: float) -> float | None:
        """Tells what that part of the values does not exceed; None without values.

        Beyond the last bound it is that bound.
        """
        wanted = part * self.count
        if not wanted:
            return None
        lower, below = 0.0, 0.0
        for bound, count in sorted(self.up_to.items()):
            if count >= wanted:
                if bound == inf:
                    return lower
                return lower + (bound - lower) * (wanted - below) / (count - below)
            lower, below = bound, count
        return lower

    @classmethod
    def sum(cls, parts: Iterable[Distribution]) -> Distribution:
        """Puts distributions with the same bounds together."""
        whole = cls()
        for part in parts:
            for bound, count in part.up_to.items():
                whole.add_up_to(bound, count)
        return whole


def _unescaped(escaped: re.Match[str]) -> str:
    return "\n" if escaped[1] == "n" else escaped[1]
