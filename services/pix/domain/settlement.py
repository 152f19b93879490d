"""What the rail, this service and the ledger say of the same money. No gRPC, NATS or SQL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Posting:
    """A line of the ledger's clearing account."""

    version: int
    entry_id: str
    minor_units: int
    occurred_at_us: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What the rail, this service and the ledger do not agree on; None: it has no such thing."""

    end_to_end_id: str
    kind: str
    rail: int | None
    kept: int | None
    ledger: int | None

    @property
    def drift(self) -> int:
        """Tells by how much money they differ, in minor units."""
        said = [self.rail or 0, self.kept or 0, -(self.ledger or 0)]
        return max(said) - min(said)


@dataclass(frozen=True, kw_only=True, slots=True)
class Movement:
    """A movement of the clearing account, and what is kept of it here; None: there is nothing.

    Whatever moves money keeps it before it asks the ledger, so that nothing here is ever behind.
    """

    version: int
    entry_id: str
    ledger: int
    kept: int | None
    status: str

    def fault(self) -> tuple[str, int] | None:
        """Tells what is wrong with it, in words, and by how much money."""
        if self.kept is None:
            return "is no payment, and is on the clearing account", abs(self.ledger)
        if self.kept != self.ledger:
            return "has another amount on the clearing account", abs(self.kept - self.ledger)
        if self.status in ("rejected", "failed"):
            return f"was {self.status}, and is on the clearing account", abs(self.ledger)
        return None
