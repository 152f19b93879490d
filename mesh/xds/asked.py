"""What operators ask the control plane by gRPC: answers behind the contract's `callers`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from mesh.errors import Error, PermissionDenied
from mesh.identity.refusal import refuse
from mesh.identity.spiffe import workload_of
from mesh.rpc.policy import policy_of

__all__ = ["Answer", "handler_of"]

Answer = Callable[[Any], Awaitable[Message]]


def handler_of(
    service: ServiceDescriptor, answers: Mapping[str, tuple[Answer, type[Message]]]
) -> grpc.GenericRpcHandler:
    """Makes what a server is given: for each method, who answers, and the type of its request."""
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            name: grpc.unary_unary_rpc_method_handler(
                _guarded(answer, service.methods_by_name[name]),
                request_deserializer=request.FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for name, (answer, request) in answers.items()
        },
    )


def _guarded(answer: Answer, method: MethodDescriptor) -> Any:
    callers = policy_of(method).callers

    async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        try:
            if workload_of(context) not in callers:
                raise PermissionDenied("CALLER_NOT_ALLOWED", "Only an operator may ask this.")
            return await answer(request)
        except Error as error:
            await refuse(context, error)

    return handle
