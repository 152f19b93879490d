"""What holds for all tests: they start processes, which gRPC's fork handlers would break."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
