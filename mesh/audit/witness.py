"""The record of a call: who has called, what for, and what it was about."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.auth.audit import Audit, StaffAccess
from mesh.clock import now_us
from mesh.db import Database, UnitOfWork
from mesh.rpc.context import Caller, current
from meshapi.v1 import options_pb2
from observability import tracing

from .chain import digest_of

__all__ = ["OPERATOR", "keeps_access", "witness"]

OPERATOR: Final = "operator"

# Whoever calls these is a person, if a person who has not signed in.
_PEOPLE: Final = (options_pb2.ACCESS_PUBLIC, options_pb2.ACCESS_EDGE)

_DONE: Final = "done"
_ASKED: Final = "asked"


def witness(work: UnitOfWork, told: Sequence[Message]) -> tuple[object, ...] | None:
    """Makes the record of a unit of work that has changed something, from the call that is current.

    `told` are the events that it told, the first of which says what it was about; a unit that told
    none was about what the request names. None when no person is behind it.
    """
    out = current.get()
    if out is None or (caller := out.caller) is None or (policy := out.policy) is None:
        return None
    if policy.changes_nothing:
        return None
    if caller.user is None and caller.workload != OPERATOR and policy.access not in _PEOPLE:
        return None
    subject, company = "", work.company_id
    for message in (*told[:1], out.request):
        if message is not None:
            subject = subject or _named(message, _subject(message.DESCRIPTOR))
            company = company or _named(message, _company(message.DESCRIPTOR))
    return _record(caller, policy.path, subject, company, work.outcome or _DONE)


def keeps_access(database: Database) -> Audit:
    """Has what staff asks for put on record, committed before it is answered."""

    async def keep(access: StaffAccess) -> None:
        await database.transact(_keep, access)

    return keep


async def _keep(work: UnitOfWork, access: StaffAccess) -> None:
    subject = _named(access.request, _subject(access.request.DESCRIPTOR))
    company = _named(access.request, _company(access.request.DESCRIPTOR))
    work.records.append(_record(access.caller, access.method, subject, company, _ASKED))


def _record(
    caller: Caller, method: str, subject: str, company: str, outcome: str
) -> tuple[object, ...]:
    user = caller.user
    parent = tracing.traceparent()
    content = (
        now_us(),
        user.user_id if user else "",
        user.session_id if user else "",
        caller.workload,
        method,
        subject,
        company,
        outcome,
        caller.reason,
        parent.split("-", 2)[1] if parent else "",
    )
    return (*content, digest_of(content))


def _named(message: Message, field: str) -> str:
    return str(getattr(message, field)) if field else ""


@cache
def _subject(kind: Descriptor) -> str:
    """The field that says what a message is about: an event's key, otherwise the first id."""
    key = str(kind.GetOptions().Extensions[options_pb2.event].key)
    if key in kind.fields_by_name:
        return key
    ids = [field.name for field in kind.fields if _is_id(field)]
    return ids[0] if ids else ""


@cache
def _company(kind: Descriptor) -> str:
    return "company_id" if "company_id" in kind.fields_by_name else ""


def _is_id(field: FieldDescriptor) -> bool:
    # A request's own id is a key against repeats.
    return (
        field.name.endswith("_id")
        and field.name != "request_id"
        and field.type == FieldDescriptor.TYPE_STRING
        and not field.is_repeated
    )
