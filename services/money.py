"""The shared kernel: the one type that every service means the same thing by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Money"]


@dataclass(frozen=True)
class Money:
    """An amount of one currency, counted in its smallest unit: centavos for BRL."""

    minor_units: int
    currency: str
