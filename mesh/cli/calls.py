"""call: a method of any service, by name, with JSON; as the mesh's operator."""

from __future__ import annotations

import difflib
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from mesh.cli.control import operator_identity
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from mesh.errors import Error

__all__ = ["ask", "joined", "methods", "register"]

PATIENCE_S = 65.0
REASON_KEY = "x-access-reason"


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command()
    def call(
        method: Annotated[str, typer.Argument(help="accounts.v1.AccountsService/GetAccount")],
        request: Annotated[str, typer.Argument(help="The request as JSON; - reads it.")] = "{}",
        token: Annotated[str, typer.Option(help="A user's access token.")] = "",
        service: Annotated[str, typer.Option(help="Who serves it, if its name differs.")] = "",
        reason: Annotated[str, typer.Option(help="Why staff looks.")] = "",
    ) -> None:
        """Call a method as the operator, and print the answer."""
        found = _find(method, methods(project.root, [*project.contracts, "meshapi"]))
        running = Running.find(data_dir(project.root))
        text = sys.stdin.read() if request == "-" else request
        target = service or found.containing_service.file.package.split(".")[-2]
        metadata = [("authorization", f"Bearer {_internal(running, token)}")] if token else []
        if reason:
            metadata.append((REASON_KEY, quote(reason)))
        answer = ask(running, target, found, _parse(found, text), metadata)
        print(_json(answer))


def ask(
    running: Running,
    service: str,
    method: MethodDescriptor,
    request: Message,
    metadata: Sequence[tuple[str, str]] = (),
) -> Message:
    """Calls a method through the mesh. Raises Problem with the error that the service raised."""
    import grpc
    from google.protobuf.message_factory import GetMessageClass

    from mesh.rpc.status import error_of

    joined(running)
    path = f"/{method.containing_service.full_name}/{method.name}"
    credentials = grpc.xds_channel_credentials()
    with grpc.secure_channel(f"xds:///{service}", credentials) as channel:
        answer = GetMessageClass(method.output_type)
        invoke: grpc.UnaryUnaryMultiCallable[Message, Message] = channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        call = invoke.future(request, timeout=PATIENCE_S, metadata=tuple(metadata))
        if call.exception() is not None:
            raise _refusal(service, path, call.code().name, error_of(call))
        found: Message = call.result()
    return found


def _internal(running: Running, token: str) -> str:
    """Trades a user's access token for one that the operator can use."""
    from mesh.settings import Settings
    from meshapi.v1 import tokens_pb2 as pb

    contract = pb.DESCRIPTOR.services_by_name["TokenExchangeService"]
    issuer = str(Settings.model_fields["token_issuer_service"].default)
    request = pb.ExchangeTokenRequest(access_token=token)
    answer: Any = ask(running, issuer, contract.methods_by_name["ExchangeToken"], request)
    return str(answer.internal_token)


def _refusal(service: str, path: str, code: str, error: Error) -> Problem:
    violations = getattr(error, "violations", ())
    fields = [f"{each.field}: {each.description}" for each in violations]
    what = f"{path} answers {code} {error.reason}"
    return Problem(what, "; ".join(fields) or error.message, f"./bank logs {service}")


def methods(root: Path, packages: Sequence[str]) -> dict[str, MethodDescriptor]:
    """All methods of the generated contracts, by `package.Service/Method`."""
    generated = root / "protos/gen"
    found: dict[str, MethodDescriptor] = {}
    for package in packages:
        for path in sorted((generated / package).rglob("*_pb2.py")):
            name = ".".join(path.relative_to(generated).with_suffix("").parts)
            services = importlib.import_module(name).DESCRIPTOR.services_by_name.values()
            for service in services:
                for method in service.methods:
                    found[f"{service.full_name}/{method.name}"] = method
    return found


def _find(name: str, known: dict[str, MethodDescriptor]) -> MethodDescriptor:
    """Finds a method by its full name, or by an end of it that is only its own."""
    asked = name.lstrip("/")
    fits = [full for full in known if full == asked or full.endswith((f".{asked}", f"/{asked}"))]
    if len(fits) == 1:
        return known[fits[0]]
    close = fits or difflib.get_close_matches(asked, known, n=3, cutoff=0.4) or sorted(known)[:3]
    what = f"several methods are named {name}" if fits else f"no method is named {name}"
    raise Problem(what, "known: " + ", ".join(close), f"./bank call {close[0]} '{{}}'", USAGE)


def _parse(method: MethodDescriptor, text: str) -> Message:
    from google.protobuf import json_format
    from google.protobuf.message_factory import GetMessageClass

    request: Message = GetMessageClass(method.input_type)()
    try:
        return json_format.Parse(text, request)
    except json_format.ParseError as error:
        fields = ", ".join(field.json_name for field in method.input_type.fields) or "none"
        why = " ".join(str(error).split())
        what = f"the request is not a {method.input_type.name}"
        raise Problem(what, why, f"its fields: {fields}", USAGE) from None


def _json(message: Message) -> str:
    from google.protobuf import json_format

    fields: dict[str, Any] = json_format.MessageToDict(
        message, always_print_fields_with_no_presence=True
    )
    return json.dumps(fields, indent=2, ensure_ascii=False)


def joined(running: Running) -> None:
    """Gives this process the operator's certificate, and the way to the control plane."""
    os.environ["GRPC_XDS_BOOTSTRAP"] = str(operator_identity(running).bootstrap)
