"""Speaks `bank.statements.v1`, and decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from google.api.httpbody_pb2 import HttpBody

from bank.statements.v1 import statements_pb2 as pb
from bank.statements.v1.statements_pb2_grpc import StatementsServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.rpc import Context, caller
from services import wire

from . import documents, domain, store
from .clients import Holders
from .domain import (
    LONGEST_WAIT_S,
    LOOK_AGAIN_S,
    Arrivals,
    Cursor,
    Line,
    Month,
    Page,
    PageTokens,
    Period,
    Query,
)

PIECE_BYTES = 64 * 1024
DIRECTIONS = {pb.DIRECTION_UNSPECIFIED: 0, pb.DIRECTION_IN: 1, pb.DIRECTION_OUT: -1}


class StatementsApi(StatementsServiceServicer):
    """The door of those who read."""

    def __init__(self, chassis: Chassis, arrivals: Arrivals, holders: Holders) -> None:
        self.read = chassis.read
        self.arrivals = arrivals
        self.holders = holders
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

    async def ExportStatement(
        self, request: pb.ExportStatementRequest, context: Context
    ) -> AsyncIterator[pb.ExportStatementResponse]:
        period = await self.period(request)
        on_paper = request.format == pb.STATEMENT_FORMAT_PDF
        most = domain.MOST_LINES_ON_PAPER if on_paper else domain.MOST_LINES
        if await self.read(store.count_lines, period) > most:
            raise domain.too_long(most)
        if on_paper:
            pieces, media_type, ending = self.paper(period), documents.PDF_TYPE, "pdf"
        elif request.format == pb.STATEMENT_FORMAT_OFX:
            pieces, media_type, ending = self.ofx(period), documents.OFX_TYPE, "ofx"
        else:
            pieces, media_type, ending = self.table(period), documents.CSV_TYPE, "csv"
        name = documents.file_name(period, ending)
        async for piece in pieces:
            body = HttpBody(content_type=media_type, data=piece)
            yield pb.ExportStatementResponse(body=body, file_name=name)

    async def ListMonths(
        self, request: pb.ListMonthsRequest, context: Context
    ) -> pb.ListMonthsResponse:
        user_id = caller().must_be_user().user_id
        months = await self.read(
            store.find_months, user_id, request.account_id, request.year, now_us()
        )
        if months is None:
            raise domain.no_such_account()
        return pb.ListMonthsResponse(months=map(month_to_wire, months))

    async def WatchEvents(
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        user_id = caller().must_be_user().user_id
        reached = await self.read(store.reached_by, user_id)
        cursor = Cursor.read(request.last_event_id)
        # An account that is new to the listener is heard from its beginning; without an id, all
        # accounts are heard from now on.
        heard = cursor.heard if request.last_event_id else reached
        cursor = Cursor({account: heard.get(account, 0) for account in reached})
        yield pb.WatchEventsResponse(event_id=str(cursor))
        while True:
            with self.arrivals.watch(*cursor.heard) as news:
                reached = await self.read(store.reached_by, user_id)
                async for line in self.unheard(cursor, reached):
                    told = pb.StatementLine(account_id=line.account_id, entry=to_wire(line))
                    yield pb.WatchEventsResponse(event_id=str(cursor), statement_line=told)
                if not await happens(news, domain.LISTEN_AGAIN_S):
                    yield pb.WatchEventsResponse(event_id=str(cursor))

    async def unheard(self, cursor: Cursor, reached: Mapping[str, int]) -> AsyncIterator[Line]:
        """Reads what accounts have that a listener has not heard, and moves the cursor along."""
        for account_id, version in reached.items():
            while cursor.heard.setdefault(account_id, 0) < version:
                after = cursor.heard[account_id]
                lines = await self.read(store.lines_after, account_id, after, domain.PIECE)
                for line in lines:
                    cursor.heard[account_id] = line.version
                    yield line
                if not lines:
                    break

    async def period(self, request: pb.ExportStatementRequest) -> Period:
        from_us = request.from_time.ToMicroseconds() if request.HasField("from_time") else 0
        to_us = request.to_time.ToMicroseconds() if request.HasField("to_time") else domain.END
        user_id = caller().must_be_user().user_id
        period = await self.read(store.find_period, user_id, request.account_id, from_us, to_us)
        if period is None:
            raise domain.no_such_account()
        return period

    async def lines(self, period: Period) -> AsyncIterator[Sequence[Line]]:
        """Reads the lines of a time, piece by piece."""
        after = 0
        while lines := await self.read(store.lines_of, period, after, domain.PIECE):
            yield lines
            after = lines[-1].version

    async def table(self, period: Period) -> AsyncIterator[bytes]:
        file = documents.CsvFile()
        yield file.head().encode()
        async for lines in self.lines(period):
            yield file.lines(lines).encode()

    async def ofx(self, period: Period) -> AsyncIterator[bytes]:
        file = documents.OfxFile(period, now_us())
        yield file.head().encode()
        async for lines in self.lines(period):
            yield file.lines(lines).encode()
        yield file.foot().encode()

    async def paper(self, period: Period) -> AsyncIterator[bytes]:
        holder = await self.holders.name_of(period.company_id)
        lines = [line async for piece in self.lines(period) for line in piece]
        drawn = await asyncio.to_thread(documents.pdf, period, lines, holder, now_us())
        for start in range(0, len(drawn), PIECE_BYTES):
            yield drawn[start : start + PIECE_BYTES]

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
    return replace(query, search=request.search.strip(), direction=DIRECTIONS[request.direction])


async def happens(news: asyncio.Event, within_s: float) -> bool:
    with suppress(TimeoutError):
        return await asyncio.wait_for(news.wait(), within_s)
    return False


def month_to_wire(month: Month) -> pb.Month:
    return pb.Month(
        month=month.month,
        opening_balance=wire.to_wire(month.opening),
        received=wire.to_wire(month.received),
        spent=wire.to_wire(month.spent),
        closing_balance=wire.to_wire(month.closing),
        entries=month.entries,
        closed=month.closed,
    )


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
