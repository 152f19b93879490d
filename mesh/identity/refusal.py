"""How the control plane's own servicers say no."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from mesh.errors import Error
from mesh.rpc.status import DETAILS_KEY, code_of, status_of

__all__ = ["refuse"]


async def refuse(context: grpc.aio.ServicerContext[Any, Any], error: Error) -> NoReturn:
    """Ends a call with the status of an error, its reason included."""
    details = ((DETAILS_KEY, status_of(error).SerializeToString()),)
    await context.abort(code_of(error), error.message, trailing_metadata=details)
    raise error
