"""An identity that somebody else puts into files, and replaces there: SPIRE, cert-manager, a job.

The files are `cert.pem`, `key.pem` and `bundle.pem`, as `mesh certs issue` writes them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from mesh.identity.workload import WorkloadIdentity

__all__ = ["GivenIdentity"]

_LOOK_S = 2.0


class GivenIdentity(WorkloadIdentity):
    """The identity of this process, which asks nobody for it."""

    async def obtain(self) -> None:
        """Waits until the files hold a good certificate."""
        while not await self._look():
            self.problem = f"no good certificate in {self.directory}"
            await asyncio.sleep(_LOOK_S)
        self.problem = ""

    async def keep(self) -> None:
        """Takes over each new certificate, for as long as it runs."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._look()
            if self.expires_at > datetime.now(UTC):
                self.problem = ""
            else:
                self._complain(f"the certificate has expired, and {self.directory} has no other")

    async def _look(self) -> bool:
        kept = await asyncio.to_thread(self._kept)
        if kept is not None and kept != self._credentials:
            self._credentials = kept
        return kept is not None
