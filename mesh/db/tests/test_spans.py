from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mesh.db import Database, UniqueViolated, UnitOfWork, sql
from mesh.errors import FailedPrecondition
from observability import tracing
from observability.spans import RecordedSpan

from .ledger import balance_of, open_account, transfer


class Recorded:
    """Records spans without a pipeline."""

    def __init__(self) -> None:
        self.ended: list[RecordedSpan] = []
        self.parent = self.span("caller", tracing.SpanKind.SERVER)

    def span(
        self, name: str, kind: tracing.SpanKind, attributes: Mapping[str, Any] | None = None
    ) -> RecordedSpan:
        return RecordedSpan(
            self.ended.append, ("test", ""), name, kind, 1, 2, 0, attributes, None, None
        )


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setattr(tracing, "start_span", recorded.span)
    return recorded


async def test_a_traced_unit_is_one_span_named_for_what_it_did(
    database: Database, recorded: Recorded
) -> None:
    await database.transact(open_account, "a", 5)
    await database.transact(open_account, "b")
    assert recorded.ended == []
    with tracing.use(recorded.parent):
        await database.transact(transfer, "a", "b", 1)
        await database.read(balance_of, "a")
    written, read = recorded.ended
    assert written.kind is tracing.SpanKind.CLIENT
    assert written.name == "UPDATE accounts"
    assert written.attributes["db.system.name"] == database.dialect
    assert written.attributes["db.query.summary"] == "UPDATE accounts"
    assert written.attributes["db.operation.batch.size"] == 2
    assert written.error is None
    assert read.name == "SELECT accounts"
    assert "db.operation.batch.size" not in read.attributes


async def test_a_violation_fails_the_span_and_a_refusal_does_not(
    database: Database, recorded: Recorded
) -> None:
    await database.transact(open_account, "a")
    with tracing.use(recorded.parent):
        with pytest.raises(UniqueViolated):
            await database.transact(open_account, "a")
        with pytest.raises(FailedPrecondition):
            await database.transact(transfer, "nobody", "a", 1)
    violated, refused = recorded.ended
    assert violated.attributes["error.type"] == "UniqueViolated"
    assert (refused.error, "error.type" in refused.attributes) == (None, False)


async def test_what_a_unit_leaves_behind_is_of_the_callers_span(
    database: Database, recorded: Recorded
) -> None:
    seen: list[str | None] = []

    async def start(work: UnitOfWork) -> str:
        seen.append(tracing.traceparent())
        work.publish(StringValue())
        work.start("deliver", "a")
        return ""

    async def kept(work: UnitOfWork) -> str:
        row = await work.fetch_one(sql("SELECT traceparent FROM sagas"))
        assert row is not None
        return str(row["traceparent"])

    with tracing.use(recorded.parent):
        await database.transact(start)
        assert seen == [tracing.traceparent()]
        assert await database.read(kept) == tracing.traceparent()
