"""An embedded trace store: OTLP/HTTP JSON in, a subset of Jaeger's query API out.

It is for the embedded profile, where there is no Jaeger; it is not Jaeger, and says so.
`python -m observability.tracestore --port 16686 --otlp-port 4318 --data DIR` runs it.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BANNER", "MARKER"]

BANNER: Final = "embedded trace store - a subset of Jaeger's query API, not Jaeger"
MARKER: Final = "X-Trace-Store"
"""The header, on every answer, by which this store is told from a Jaeger."""
