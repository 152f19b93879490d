"""How an instruction comes in: what must be asked of others first, and what is learned so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from mesh.auth import require_step_up
from mesh.chassis import Chassis
from mesh.errors import NotFound, Refused, StepUpRequired
from mesh.rpc import caller

from ..clients import AccountsLedger, Suppliers
from ..domain.batches import Batch, Line
from ..domain.recurrence import Occurrence, Recurring
from ..domain.transfers import Account, Refund, Status, Supplier, Transfer
from ..store import batches, recurring, transfers

T = TypeVar("T")

PAGE_SIZE = 50
# How many lines of a batch are under way at once, and how long one keeps its place.
LINES_AT_ONCE = 8
LINE_S = 1.0


class Intake:
    """Takes in transfers: those that people ask for, and those that a plan or a file asks for."""

    def __init__(self, chassis: Chassis, ledger: AccountsLedger, suppliers: Suppliers) -> None:
        self.chassis = chassis
        self.ledger = ledger
        self.suppliers = suppliers

    async def transfer(self, asked: Transfer) -> tuple[Transfer, bool]:
        """Accepts a transfer of the user who calls."""
        supplier, step_up = None, why_not_proven()
        if asked.supplier_id or asked.scheduled_for_us is not None:
            # What was accepted before is answered as it was, whatever has become of the supplier,
            # and though its time has come since.
            if earlier := await self.chassis.read(transfers.repeated, asked):
                return earlier, False
            asked.must_lie_ahead()
        if asked.supplier_id:
            supplier = await self.suppliers.find(asked.supplier_id)
            asked = asked.to(supplier)

        async def accept(learned: Iterable[Account]) -> tuple[Transfer, bool]:
            return await self.chassis.transact(transfers.accept, asked, learned, supplier, step_up)

        return await self.knowing(asked, accept)

    async def recurring(self, asked: Recurring) -> tuple[Recurring, bool]:
        """Accepts a recurring transfer of the user who calls."""
        supplier, step_up = None, why_not_proven()
        if asked.model.supplier_id:
            if earlier := await self.chassis.read(recurring.repeated, asked):
                return earlier, False
            supplier = await self.suppliers.find(asked.model.supplier_id)
            asked = asked.to(supplier)

        async def accept(learned: Iterable[Account]) -> tuple[Recurring, bool]:
            return await self.chassis.transact(recurring.accept, asked, learned, supplier, step_up)

        return await self.knowing(asked.model, accept)

    async def batch(self, asked: Batch, lines: list[Line]) -> tuple[Batch, bool]:
        """Accepts a batch of the user who calls."""
        step_up = why_not_proven()

        async def accept(learned: Iterable[Account]) -> tuple[Batch, bool]:
            return await self.chassis.transact(batches.accept, asked, lines, learned, step_up)

        return await self.learning(asked.requested_by, [asked.payer], accept)

    async def refund(self, asked: Refund) -> tuple[Transfer, bool]:
        """Accepts a refund of the user who calls."""
        original = await self.chassis.read(transfers.load, asked.refund_of)

        async def accept(learned: Iterable[Account]) -> tuple[Transfer, bool]:
            return await self.chassis.transact(transfers.refund, asked, learned)

        return await self.learning(asked.requested_by, [original.payee], accept)

    async def occur(self, occurrence: Occurrence) -> None:
        """Makes the transfer of an occurrence; one that is refused is kept as failed."""
        model = occurrence.recurring.model
        try:
            supplier = await self.supplier_of(model)

            async def make(learned: Iterable[Account]) -> None:
                await self.chassis.transact(recurring.make, occurrence, learned, supplier)

            await self.knowing(model, make)
        except Refused as refusal:
            await self.chassis.transact(recurring.refuse, occurrence, refusal)

    async def work_through(self, batch: Batch) -> None:
        """Makes the transfers of the lines that wait, a few at once."""
        lines = iter(await self.chassis.read(batches.pending, batch.id))

        async def work() -> None:
            for line in lines:
                self.chassis.admit()
                await self.line(batch, line)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(LINES_AT_ONCE):
                    group.create_task(work())
        except ExceptionGroup as failures:
            # Where one has no answer yet, the others seldom have: any of them says it.
            raise failures.exceptions[0] from None

    async def line(self, batch: Batch, line: Line) -> None:
        try:
            asked = batches.payment(batch, line)
            supplier = await self.supplier_of(asked)

            async def make(learned: Iterable[Account]) -> Transfer:
                return await self.chassis.transact(batches.make, batch, line, learned, supplier)

            transfer = await self.knowing(asked, make)
        except Refused as refusal:
            await self.chassis.transact(batches.refuse, batch, line, refusal)
            return
        if transfer.status is Status.PENDING:
            await self.chassis.wait_for(transfers.MOVE_MONEY, transfer.id, LINE_S)

    async def supplier_of(self, asked: Transfer) -> Supplier | None:
        if not asked.supplier_id:
            return None
        supplier = await self.suppliers.find(asked.supplier_id)
        asked.to(supplier)
        return supplier

    async def knowing(
        self, asked: Transfer, accept: Callable[[Iterable[Account]], Awaitable[T]]
    ) -> T:
        return await self.learning(asked.requested_by, [asked.payer, asked.payee], accept)

    async def learning(
        self,
        user_id: str,
        named: Iterable[str],
        accept: Callable[[Iterable[Account]], Awaitable[T]],
    ) -> T:
        """Accepts by what is known, or else by what the owner of the accounts knows."""
        try:
            return await accept(())
        except NotFound:
            # Our copies may be late: the owner knows.
            described = [await self.ledger.describe(each, user_id) for each in named if each]
            return await accept([account for account in described if account])


def user_id() -> str:
    return caller().must_be_user().user_id


def why_not_proven() -> Refused | None:
    """Tells what to refuse with what needs a second factor, unless one was proven just now."""
    try:
        require_step_up(caller().must_be_user())
    except StepUpRequired as refusal:
        return refusal
    return None
