"""How a ticket is watched until its answer is due."""

from __future__ import annotations

from mesh.saga import Journal


async def watch(ticket: str, journal: Journal) -> str:
    """Begins when the answer is due, and has nothing to do but end: that looks at the ticket."""
    return ticket
