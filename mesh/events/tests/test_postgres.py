"""The tests that touch every statement, once more, on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from mesh.db import Database, open_database, sql
from mesh.db.migrate import migrate
from mesh.events.envelope import seal
from mesh.testing.postgres import postgres_server

from .test_loops import (
    test_a_committed_event_reaches_a_projection_and_a_reaction_once,
    test_killing_nats_in_the_middle_loses_nothing_and_doubles_nothing,
    test_two_processes_share_the_work_in_order_and_the_second_takes_over,
)
from .test_projection import test_two_processes_that_project_at_once_apply_each_event_once
from .test_reaction import test_parked_events_are_applied_in_order_when_they_are_redriven
from .test_relay import test_sent_events_are_kept_for_a_week_only

__all__ = [
    "test_a_committed_event_reaches_a_projection_and_a_reaction_once",
    "test_killing_nats_in_the_middle_loses_nothing_and_doubles_nothing",
    "test_parked_events_are_applied_in_order_when_they_are_redriven",
    "test_sent_events_are_kept_for_a_week_only",
    "test_two_processes_share_the_work_in_order_and_the_second_takes_over",
    "test_two_processes_that_project_at_once_apply_each_event_once",
]

NOTED = sql(
    "CREATE TABLE noted (id BIGSERIAL PRIMARY KEY, listener TEXT, order_id TEXT,"
    " number BIGINT, sequence BIGINT)"
)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    url = postgres_server().new_database()
    await asyncio.to_thread(migrate, url)
    database = await open_database(url, seal=partial(seal, source="shop"))
    await database.transact(lambda work: work.execute(NOTED))
    yield database
    await database.close()
