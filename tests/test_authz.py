"""Every method of the contracts against everybody who could try, at the real door."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc.aio
import pytest
from google.protobuf.descriptor import ServiceDescriptor

from bank.users.v1.staff_pb2 import GetUserRequest
from mesh.auth.audit import StaffAccess
from mesh.auth.keys import TokenKeys
from mesh.auth.tokens import KEY_METHOD, TokenVerifier
from mesh.catalogue.access import Caller, Rule, callers, key_scopes, rules
from mesh.cli.calls import methods
from mesh.errors import FailedPrecondition
from mesh.rpc.context import REASON_KEY, Context
from mesh.rpc.door import Door
from mesh.rpc.load import Load
from mesh.rpc.server import Handlers, make_server
from mesh.rpc.status import error_of
from mesh.settings import Settings
from mesh.testing.tokens import TokenMint
from services.__main__ import BANK, ROOT

RULES = rules(methods(ROOT, ["bank", "meshapi"]).values())
CALLERS = callers(BANK.services, key_scopes(RULES))
EDGES: frozenset[str] = Settings.model_fields["edges"].default
WORKLOAD = "test-workload"

# Codes of who was let through: the method itself says no to an empty request.
REACHED = "REACHED"
LET_THROUGH = {"INVALID_REQUEST", REACHED, ""}


class Verdict(NamedTuple):
    rule: Rule
    caller: Caller
    reason: str


MARIA = GetUserRequest(user_id="0190a8b4-7f00-7000-8000-000000000001").SerializeToString()


@dataclass
class Doors:
    """All contracts behind one door, with handlers that only say that they were reached."""

    channel: grpc.aio.Channel
    mint: TokenMint
    audited: list[StaffAccess]

    async def attempt(self, rule: Rule, caller: Caller, request: bytes = b"") -> str:
        """Calls with a request, an empty one; gives the reason of the refusal."""
        metadata = [(WORKLOAD, caller.workload)]
        if caller.holder:
            token = self.token(caller)
            metadata.append(("authorization", f"Bearer {token}"))
        if caller.reason:
            metadata.append((REASON_KEY, "ticket%204711"))
        try:
            await self.ask(rule, tuple(metadata), request)
        except grpc.aio.AioRpcError as failure:
            return error_of(failure).reason
        return ""

    def token(self, caller: Caller) -> str:
        claims = {
            "sub": "0190a8b4-7f00-7000-8000-000000000001",
            "scope": "staff" if caller.staff else "",
            "amr": ["pwd", "otp"] if caller.factor else ["pwd"],
        }
        if caller.key_scopes is not None:
            claims |= {"scope": " ".join(caller.key_scopes), "amr": [KEY_METHOD]}
        return self.mint.sign_internal(claims, workload=caller.holder)

    async def ask(self, rule: Rule, metadata: Any, request: bytes) -> None:
        method: Any = rule.method
        if not (method.client_streaming or method.server_streaming):
            await self.channel.unary_unary(rule.path)(request, metadata=metadata, timeout=10)
        elif method.client_streaming:
            both = self.channel.stream_stream(rule.path)(iter([b""]), metadata=metadata, timeout=10)
            await both.read()
        else:
            await self.channel.unary_stream(rule.path)(b"", metadata=metadata, timeout=10).read()


def servicer_of(service: ServiceDescriptor) -> object:
    """A servicer of a contract that only says that a method was reached."""

    def unary() -> Any:
        async def method(self: object, request: object, context: Context) -> Any:
            raise FailedPrecondition(REACHED, "Whoever asked was let through.")

        return method

    def streaming() -> Any:
        async def method(self: object, request: object, context: Context) -> Any:
            raise FailedPrecondition(REACHED, "Whoever asked was let through.")
            yield

        return method

    module = importlib.import_module(
        service.file.name.replace("/", ".")[: -len(".proto")] + "_pb2_grpc"
    )
    base = getattr(module, f"{service.name}Servicer")
    made = {
        each.name: streaming() if getattr(each, "server_streaming", False) else unary()
        for each in service.methods
    }
    return type(f"Reached{service.name}", (base,), made)()


def workload_of(context: Context) -> str:
    return next((str(v) for key, v in context.invocation_metadata() or () if key == WORKLOAD), "")


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    mint, audited = TokenMint(), list[StaffAccess]()

    async def audit(access: StaffAccess) -> None:
        audited.append(access)

    door = Door(
        workload_of=workload_of,
        tokens=TokenVerifier(TokenKeys(mint.fetch)),
        is_production=False,
        edges=EDGES,
        audit=audit,
    )
    handlers = Handlers(door, Load(10_000))
    contracts = {rule.method.containing_service.full_name: rule.method for rule in RULES}
    for method in contracts.values():
        handlers.add(servicer_of(method.containing_service))
    server = make_server()
    handlers.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Doors(channel, mint, audited)
    await server.stop(None)


async def test_the_door_says_of_everybody_what_the_contracts_say(doors: Doors) -> None:
    pairs = [(rule, caller) for rule in RULES for caller in CALLERS]
    wrong = []
    for start in range(0, len(pairs), 200):
        some = pairs[start : start + 200]
        reasons = await asyncio.gather(*(doors.attempt(*pair) for pair in some))
        for (rule, caller), reason in zip(some, reasons, strict=True):
            said = rule.refusal(caller, EDGES)
            if said != ("" if reason in LET_THROUGH else reason):
                wrong.append(f"{rule.path} for {caller.name}: {said or 'yes'}, and it is {reason}")

    assert wrong == []
    assert len(pairs) > 1_000


async def test_what_staff_looks_at_is_on_record_before_it_is_answered(doors: Doors) -> None:
    [staff] = [caller for caller in CALLERS if caller.name == "staff"]
    [rule] = [rule for rule in RULES if rule.path.endswith("StaffService/GetUser")]

    await doors.attempt(rule, staff, MARIA)

    [access] = doors.audited
    assert (access.method, access.caller.reason) == (rule.path, "ticket 4711")
    assert access.caller.workload == "bff"
    assert access.request.SerializeToString() == MARIA


async def test_what_is_not_on_record_is_not_answered(doors: Doors) -> None:
    async def broken(access: StaffAccess) -> None:
        raise OSError("the disk is full")

    door = Door(
        workload_of=lambda _: "bff",
        tokens=TokenVerifier(TokenKeys(doors.mint.fetch)),
        is_production=False,
        audit=broken,
    )
    [staff] = [caller for caller in CALLERS if caller.name == "staff"]
    [rule] = [rule for rule in RULES if rule.path.endswith("StaffService/GetUser")]
    handlers = Handlers(door, Load(100))
    handlers.add(servicer_of(rule.method.containing_service))
    server = make_server()
    handlers.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        reason = await Doors(channel, doors.mint, []).attempt(rule, staff, MARIA)
    await server.stop(None)

    assert reason == "INTERNAL"


def test_everybody_who_could_try_is_in_the_table() -> None:
    names = {caller.name for caller in CALLERS}

    assert {"nobody", "user", "staff", "no certificate", "operator", *BANK.services} <= names


def test_only_the_edge_acts_for_people() -> None:
    thieves = [caller for caller in CALLERS if caller.holder and caller.workload != caller.holder]
    through = [
        (rule.path, thief.name)
        for rule in RULES
        for thief in thieves
        if rule.access in ("user", "staff") and not rule.refusal(thief, EDGES)
    ]

    assert len(thieves) >= 7
    assert through == []


def test_an_api_key_does_what_its_scope_names_and_nothing_for_the_company_s_people() -> None:
    keys = [caller for caller in CALLERS if caller.key_scopes is not None]
    users = [rule for rule in RULES if rule.access in ("user", "staff")]
    may = {
        (rule.policy.key_scope, key.name)
        for rule in users
        for key in keys
        if not rule.refusal(key, EDGES)
    }

    assert may == {(scope, f"key, {scope}") for scope in key_scopes(RULES)}
    assert not any(rule.policy.key_scope for rule in users if rule.service == "users")
    assert len(keys) >= 5


def test_what_is_for_everybody_is_a_short_list() -> None:
    public = {rule.path.rpartition(".")[2] for rule in RULES if rule.access == "public"}

    assert {name for name in public if name.startswith(("UsersService", "TokenKeys"))} == {
        "UsersService/CreateUser",
        "UsersService/ConfirmUser",
        "UsersService/ResendConfirmation",
        "UsersService/ForgotPassword",
        "UsersService/ResetPassword",
        "UsersService/CreateSession",
        "UsersService/RefreshSession",
        "TokenKeysService/ListTokenKeys",
    }


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from mesh.cli.main import run

    assert run(BANK, ["authz", "GetUser", "--output", "json"]) == 0

    [row] = json.loads(capsys.readouterr().out)
    assert row["verdicts"]["staff"] == "yes"
    assert row["verdicts"]["nobody"] == "TOKEN_MISSING"
