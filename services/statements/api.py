"""Speaks `bank.statements.v1`, and decides nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

from bank.statements.v1 import statements_pb2 as pb
from bank.statements.v1.statements_pb2_grpc import StatementsServiceServicer
from mesh.chassis import Chassis
from mesh.rpc import Context, caller
from services import wire

from . import domain, store
from .domain import LONGEST_WAIT_S, LOOK_AGAIN_S, Arrivals, Line, Page, PageTokens, Query


class StatementsApi(StatementsServiceServicer):
    """The door of those who read."""

    def __init__(self, chassis: Chassis, arrivals: Arrivals) -> None:
        self.read = chassis.read
        self.arrivals = arrivals
        self.tokens: PageTokens | None = None

    async def GetStatement(
        self, request: pb.GetStatementRequest, context: Context
    ) -> pb.GetStatementResponse:
        tokens = await self.page_tokens()
        query = to_query(request, caller().must_be_user().user_id)
        query = replace(query, before=tokens.read(query, request.page_token))
        page = await self.page(query, request.after_version)
        return pb.GetStatementResponse(
            entries=map(to_wire, page.lines),
            next_page_token=tokens.next(query, page),
            as_of_version=page.as_of_version,
        )

    async def page(self, query: Query, after_version: int) -> Page:
        """Reads a page, once the version has arrived or the time to wait for it is over."""
        clock = asyncio.get_running_loop().time
        end = clock() + LONGEST_WAIT_S
        with self.arrivals.watch(query.account_id) as news:
            while True:
                news.clear()
                page = await self.read(store.find_page, query)
                left = end - clock()
                if left <= 0 or (page.as_of_version if page else 0) >= after_version:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), min(left, LOOK_AGAIN_S))
        if page is None:
            raise domain.no_such_account()
        return page

    async def page_tokens(self) -> PageTokens:
        if self.tokens is None:
            self.tokens = PageTokens(await self.read(store.page_secret))
        return self.tokens


def to_query(request: pb.GetStatementRequest, user_id: str) -> Query:
    query = Query(
        user_id=user_id,
        account_id=request.account_id,
        size=request.page_size or domain.PAGE_SIZE,
    )
    if request.HasField("from_time"):
        query = replace(query, from_us=request.from_time.ToMicroseconds())
    if request.HasField("to_time"):
        query = replace(query, to_us=request.to_time.ToMicroseconds())
    return query


def to_wire(line: Line) -> pb.StatementEntry:
    return pb.StatementEntry(
        entry_id=line.entry_id,
        transfer_id=line.transfer_id,
        amount=wire.to_wire(line.amount),
        balance_after=wire.to_wire(line.balance_after),
        counterparty=line.counterparty,
        description=line.description,
        occurred_at=wire.timestamp(line.occurred_at_us),
        version=line.version,
    )
