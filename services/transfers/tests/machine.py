"""Transfers and limits, in any order, beside a model of a few lines.

The machine does with a real database what people, sagas and time do to it, and knows what must
come of it. After each step, what is kept is compared with what the model says, and the rules that
hold whatever happens are checked against the rows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mesh.clock import now_us, to_us, travel
from mesh.db import Database, UnitOfWork, sql
from mesh.errors import Refused, StepUpRequired
from mesh.ids import new_id
from services.money import Money
from services.transfers.domain.terms import BRAZIL, NO_LIMIT, Limit, day_of, night_of
from services.transfers.domain.transfers import Account, Refund, Status, Transfer
from services.transfers.store import copies, terms, transfers

T = TypeVar("T")

HOUR_US = 3_600_000_000
# Ten in the morning.
BEGINNING_US = to_us(datetime(2030, 1, 15, 10, tzinfo=BRAZIL))
AMOUNTS = st.sampled_from([40, 100, 150, 260])
MOST = st.sampled_from([100, 150, 300, 600, NO_LIMIT])
PICK = st.integers(0, 10**6)
FINAL = {Status.COMPLETED, Status.REVERSED, Status.FAILED, Status.CANCELLED}

KEPT = sql("SELECT * FROM transfers WHERE company_id IN (:one, :other)")
USED = sql("SELECT period, used, allowed FROM usage WHERE company_id = :company")
TOLD = sql("SELECT key, type, version FROM outbox ORDER BY id")
FORGET = sql("DELETE FROM outbox")


@dataclass
class Bound:
    """A limit as the model knows it: what holds, and what will."""

    most: int
    wanted: int | None = None
    from_us: int = 0

    def at(self, now: int) -> int:
        if self.wanted is not None and now >= self.from_us:
            self.most, self.wanted = self.wanted, None
        return self.most

    def set(self, most: int, now: int) -> None:
        if most <= self.at(now):
            self.most, self.wanted = most, None
        elif most != self.wanted:
            self.wanted, self.from_us = most, now + 24 * HOUR_US


class Machine(RuleBasedStateMachine):
    """One company that pays another, its people, its limits, and time."""

    runner: asyncio.Runner
    database: Database
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.company, self.other = new_id(), new_id()
        self.payer, self.payee = new_id(), new_id()
        self.owner, self.operator, self.approver = new_id(), new_id(), new_id()
        self.their_owner = new_id()
        self.ahead_us = 0
        self.known: dict[str, Transfer] = {}
        self.used: Counter[str] = Counter()
        self.given: Counter[str] = Counter()
        self.bounds: dict[Limit, Bound] = {}
        self.step_ups: dict[str, Bound] = {}

    @initialize()
    def begin(self) -> None:
        # Each example begins at the same moment, so that it can be told again.
        travel(0)
        self.pass_us(BEGINNING_US - now_us())
        self.run(self.settle_in)
        defaults = self.run(lambda: self.database.read(terms.terms_of, "", "", now_us()))
        self.bounds = {limit: Bound(bound.most) for limit, bound in defaults.bounds.items()}
        most = defaults.most(Limit.WITHOUT_STEP_UP)
        self.step_ups = {user: Bound(most) for user in (self.owner, self.operator)}
        for limit in (Limit.PER_DAY, Limit.PIX_AT_NIGHT):
            self.set_limit(limit, 500, self.owner)
        self.set_limit(Limit.WITHOUT_APPROVAL, 100, self.owner)
        self.set_limit(Limit.WITHOUT_STEP_UP, 150, self.owner)

    async def settle_in(self) -> None:
        await self.database.transact(forget)
        for account, company in ((self.payer, self.company), (self.payee, self.other)):
            opened = Account(
                id=account, company_id=company, currency="BRL", is_open=True, may_pay=None
            )
            await self.database.transact(copies.open_account, opened)
        for user, company, role, may_pay in (
            (self.owner, self.company, "OWNER", True),
            (self.operator, self.company, "OPERATOR", True),
            (self.approver, self.company, "APPROVER", False),
            (self.their_owner, self.other, "OWNER", True),
        ):
            await self.database.transact(copies.set_member, user, company, may_pay, role)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        async def running() -> T:
            return await work()

        return self.runner.run(running())

    def ask(self, unit: Callable[..., Awaitable[Any]], *args: Any) -> tuple[Any, str]:
        """Gives the answer, and the reason if it is no."""
        try:
            return self.run(lambda: self.database.transact(unit, *args)), ""
        except Refused as refusal:
            return None, refusal.reason

    def of(self, *statuses: Status) -> list[Transfer]:
        return [each for each in self.known.values() if each.status in statuses]

    def most(self, limit: Limit) -> int:
        return self.bounds[limit].at(now_us())

    def counts_in(self, transfer: Transfer, at_us: int) -> dict[str, int]:
        periods = {day_of(at_us): self.most(Limit.PER_DAY)}
        night = night_of(at_us)
        if transfer.pix_key and night:
            periods[night] = self.most(Limit.PIX_AT_NIGHT)
        return periods

    def refusal_of(self, transfer: Transfer, at_us: int) -> str:
        amount = transfer.amount.minor_units
        for period, most in self.counts_in(transfer, at_us).items():
            if self.used[period] + amount > most:
                return "LIMIT_AT_NIGHT" if period.endswith("N") else "LIMIT_PER_DAY"
        return ""

    def use(self, transfer: Transfer, at_us: int, sign: int = 1) -> None:
        for period in self.counts_in(transfer, at_us):
            self.used[period] += sign * transfer.amount.minor_units

    @rule(
        amount=AMOUNTS,
        by_pix=st.booleans(),
        by_owner=st.booleans(),
        proven=st.booleans(),
        hours=st.sampled_from([0, 0, 0, 5, 30]),
    )
    def pay(self, amount: int, by_pix: bool, by_owner: bool, proven: bool, hours: int) -> None:
        now = now_us()
        when = now + hours * HOUR_US if hours else None
        asked = Transfer(
            id=new_id(),
            requested_by=self.owner if by_owner else self.operator,
            request_id=new_id(),
            payer=self.payer,
            payee="" if by_pix else self.payee,
            pix_key="bia@example.com" if by_pix else "",
            amount=Money(amount, "BRL"),
            description="",
            created_at_us=now,
            scheduled_for_us=when,
            status=Status.SCHEDULED if when else Status.PENDING,
        )
        step_up = None if proven else StepUpRequired(300)
        answer, reason = self.ask(transfers.accept, asked, (), None, step_up)
        own = self.step_ups[asked.requested_by].at(now)
        waits = amount > self.most(Limit.WITHOUT_APPROVAL)
        expected = ""
        if amount > self.most(Limit.PER_TRANSFER):
            expected = "LIMIT_PER_TRANSFER"
        elif not proven and amount > own:
            expected = "STEP_UP_REQUIRED"
        elif not waits:
            expected = self.refusal_of(asked, when or now)
        assert reason == expected
        if answer is None:
            return
        kept, is_new = answer
        assert is_new
        assert (kept.status is Status.AWAITING_APPROVAL) == waits
        if not waits:
            self.use(kept, when or now)
        self.known[kept.id] = kept
        again, is_new = self.run(
            lambda: self.database.transact(transfers.accept, replace(asked, id=new_id()))
        )
        assert (again, is_new) == (kept, False)

    @precondition(lambda self: self.of(Status.AWAITING_APPROVAL))
    @rule(pick=PICK, who=st.sampled_from(["owner", "operator", "approver"]), yes=st.booleans())
    def decide(self, pick: int, who: str, yes: bool) -> None:
        waiting = self.of(Status.AWAITING_APPROVAL)
        transfer = waiting[pick % len(waiting)]
        user, now = getattr(self, who), now_us()
        unit, more = (transfers.approve, (None,)) if yes else (transfers.reject, ())
        answer, reason = self.ask(unit, transfer.id, user, *more)
        at_us = max(now, transfer.scheduled_for_us or 0)
        expected = ""
        if who == "operator":
            expected = "ROLE_MAY_NOT_APPROVE"
        elif user == transfer.requested_by:
            expected = "MAKER_MAY_NOT_APPROVE"
        elif yes and now >= (transfer.approval_expires_us or 0):
            expected = "NOT_AWAITING_APPROVAL"
        elif yes:
            expected = self.refusal_of(transfer, at_us)
        assert reason == expected
        if answer is None:
            return
        self.change(transfer, answer)
        if not yes:
            assert answer.status is Status.CANCELLED
            return
        assert answer.status is (Status.SCHEDULED if at_us > now else Status.PENDING)
        self.use(answer, at_us)

    @precondition(lambda self: self.known)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        transfer = list(self.known.values())[pick % len(self.known)]
        if transfer.refund_of:
            return
        answer, reason = self.ask(transfers.cancel, transfer.id, self.operator)
        may = (Status.SCHEDULED, Status.AWAITING_APPROVAL, Status.CANCELLED)
        assert reason == ("" if transfer.status in may else "TRANSFER_BEGUN")
        if answer is not None and transfer.status is not Status.CANCELLED:
            if transfer.status is Status.SCHEDULED:
                assert transfer.counted_at_us is not None
                self.use(transfer, transfer.counted_at_us, -1)
            self.change(transfer, answer)

    @precondition(lambda self: self.of(Status.SCHEDULED))
    @rule(pick=PICK)
    def start(self, pick: int) -> None:
        scheduled = self.of(Status.SCHEDULED)
        transfer = scheduled[pick % len(scheduled)]
        for _ in range(2):
            self.run(lambda: self.database.transact(transfers.begin, transfer))
        self.change(transfer, self.read(transfer.id))
        assert self.known[transfer.id].status is Status.PENDING

    @precondition(lambda self: self.of(Status.PENDING))
    @rule(pick=PICK, good=st.booleans())
    def end(self, pick: int, good: bool) -> None:
        pending = self.of(Status.PENDING)
        transfer = pending[pick % len(pending)]
        outcome = transfer.completed() if good else transfer.failed("INSUFFICIENT_FUNDS")
        kept, _ = self.ask(transfers.finish, outcome)
        self.change(transfer, kept)
        amount = transfer.amount.minor_units
        if not good and transfer.counted_at_us is not None:
            self.use(transfer, transfer.counted_at_us, -1)
        if transfer.refund_of and not good:
            self.given[transfer.refund_of] -= amount
        elif transfer.refund_of:
            original = self.known[transfer.refund_of]
            now_back = self.read(original.id)
            assert now_back.returned == original.returned + amount
            whole = now_back.returned == original.amount.minor_units
            assert (now_back.status is Status.REVERSED) == whole
            self.change(original, now_back)

    @precondition(lambda self: self.of(Status.COMPLETED, Status.REVERSED))
    @rule(pick=PICK, amount=st.sampled_from([None, 20, 40, 260]), times=st.integers(1, 3))
    def refund(self, pick: int, amount: int | None, times: int) -> None:
        done = self.of(Status.COMPLETED, Status.REVERSED)
        for _ in range(times):
            self.give_back(done[pick % len(done)], amount)

    def give_back(self, original: Transfer, amount: int | None) -> None:
        asked = Refund(
            id=new_id(),
            requested_by=self.their_owner,
            request_id=new_id(),
            refund_of=original.id,
            amount=None if amount is None else Money(amount, "BRL"),
            description="",
            created_at_us=now_us(),
        )
        answer, reason = self.ask(transfers.refund, asked)
        left = original.amount.minor_units - self.given[original.id]
        expected = ""
        if original.pix_key or original.refund_of:
            # It was not paid to an account of theirs, or is a refund of theirs.
            expected = "TRANSFER_NOT_FOUND"
        elif not 0 < (left if amount is None else amount) <= left:
            expected = "REFUND_EXCEEDS_TRANSFER"
        assert reason == expected
        if answer is not None:
            kept, _ = answer
            self.given[original.id] += kept.amount.minor_units
            self.known[kept.id] = kept

    @precondition(lambda self: self.paid_out())
    @rule(pick=PICK, whole=st.booleans())
    def come_back(self, pick: int, whole: bool) -> None:
        done = self.paid_out()
        transfer = done[pick % len(done)]
        amount = transfer.amount.minor_units
        returned = amount if whole else min(amount, transfer.returned + 40)
        for _ in range(2):
            self.ask(transfers.came_back, transfer.id, returned, new_id())
        kept = self.read(transfer.id)
        assert kept.returned == max(returned, transfer.returned)
        assert (kept.status is Status.REVERSED) == (kept.returned == amount)
        if kept.returned > transfer.returned:
            self.change(transfer, kept)
        assert self.known[transfer.id] == kept

    def paid_out(self) -> list[Transfer]:
        return [each for each in self.of(Status.COMPLETED, Status.REVERSED) if each.pix_key]

    @rule(limit=st.sampled_from(list(Limit)), most=MOST, who=st.sampled_from(["owner", "operator"]))
    def limit(self, limit: Limit, most: int, who: str) -> None:
        self.set_limit(limit, most, getattr(self, who))

    def set_limit(self, limit: Limit, most: int, user: str) -> None:
        now = now_us()
        _, reason = self.ask(terms.update, user, self.company, {limit: most}, now)
        if limit is Limit.WITHOUT_STEP_UP:
            assert reason == ""
            self.step_ups[user].set(most, now)
        elif user != self.owner:
            assert reason == "ROLE_MAY_NOT_SET_LIMITS"
        else:
            self.bounds[limit].set(most, now)

    @rule(hours=st.sampled_from([1, 6, 23, 25]))
    def pass_time(self, hours: int) -> None:
        self.pass_us(hours * HOUR_US)

    def pass_us(self, microseconds: int) -> None:
        self.ahead_us += microseconds
        travel(self.ahead_us)

    def change(self, before: Transfer, after: Transfer) -> None:
        """Knows how a transfer is now: a version later."""
        assert after.version == before.version + 1
        self.known[after.id] = after

    def read(self, transfer_id: str) -> Transfer:
        return self.run(lambda: self.database.read(transfers.load, transfer_id))

    @invariant()
    def what_is_kept_is_what_is_known(self) -> None:
        type(self).steps += 1
        kept, used, told = self.run(lambda: self.database.read(self.look))
        assert {row["id"]: row["status"] for row in kept} == {
            each.id: each.status for each in self.known.values()
        }
        found = {row["period"]: row["used"] for row in used}
        assert {period: amount for period, amount in found.items() if amount} == {
            period: amount for period, amount in self.used.items() if amount
        }
        assert all(0 <= row["used"] <= row["allowed"] for row in used)
        refunds: Counter[str] = Counter()
        for row in kept:
            if row["refund_of"] and row["status"] != Status.FAILED:
                refunds[row["refund_of"]] += row["minor_units"]
        for row in kept:
            assert row["decided_by"] != row["requested_by"]
            assert refunds[row["id"]] == row["refunding"] <= row["minor_units"]
            assert row["pix_key"] or 0 <= row["returned"] <= row["refunding"]
            assert [version for _, version in told[row["id"]]] == sorted(
                version for _, version in told[row["id"]]
            )
            assert told[row["id"]][-1][1] == row["version"]
            ends = [kind for kind, _ in told[row["id"]] if kind in ENDS]
            assert len(ends) == (row["status"] in FINAL)

    async def look(self, work: UnitOfWork) -> tuple[Any, Any, Any]:
        kept = await work.fetch_all(KEPT, one=self.company, other=self.other)
        used = await work.fetch_all(USED, company=self.company)
        told: dict[str, list[tuple[str, int]]] = {row["id"]: [] for row in kept}
        for event in await work.fetch_all(TOLD):
            told[event["key"]].append((event["type"].rpartition(".")[2], event["version"]))
        return kept, used, told


async def forget(work: UnitOfWork) -> None:
    await work.execute(FORGET)


ENDS = {"TransferCompleted", "TransferFailed", "TransferCancelled"}
