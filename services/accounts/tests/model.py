"""A ledger in a few lines of Python, without a database: what the real one must agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Leg: TypeAlias = tuple[str, int]
Order: TypeAlias = tuple[object, ...]


@dataclass
class ModelAccount:
    floor: int = 0
    ceiling: int = 10**18
    balance: int = 0
    held: int = 0
    is_open: bool = True
    debits_blocked: bool = False
    credits_blocked: bool = False
    last_us: int = 0
    history: list[tuple[int, int]] = field(default_factory=list)

    def takes(self, amount: int, balance: int, freed: int) -> bool:
        if not self.is_open:
            return False
        if amount > 0:
            return not self.credits_blocked and balance + amount <= self.ceiling
        may = freed > 0 or not self.debits_blocked
        return may and balance + amount - (self.held - freed) >= self.floor

    def at(self, at_us: int) -> int:
        return next((balance for us, balance in reversed(self.history) if us <= at_us), 0)


@dataclass
class ModelHold:
    account: str
    amount: int
    expires_us: int = 0
    status: str = "open"


class Model:
    """Every answer is kept for ever. Each order tells whether it is done."""

    def __init__(self, accounts: Mapping[str, ModelAccount]) -> None:
        self.accounts = dict(accounts)
        self.holds: dict[str, ModelHold] = {}
        self.answers: dict[str, tuple[Order, bool]] = {}
        self.posted: dict[str, list[Leg]] = {}
        self.reversals: set[str] = set()
        self.reversed: set[str] = set()
        self.now_us = 1

    def post(self, entry_id: str, legs: Sequence[Leg]) -> bool:
        return self._answer(entry_id, ("post", tuple(sorted(legs))), legs)

    def reverse(self, entry_id: str, original: str) -> bool:
        if original not in self.posted or original in self.reversals:
            return False
        legs = [(account, -amount) for account, amount in self.posted[original]]
        known = entry_id in self.answers
        done = self._answer(entry_id, ("reverse", original), legs, original not in self.reversed)
        if done and not known:
            self.reversals.add(entry_id)
            self.reversed.add(original)
        return done

    def place(self, hold_id: str, account: str, amount: int, expires_us: int) -> bool:
        if known := self.holds.get(hold_id):
            same = (known.account, known.amount) == (account, amount)
            return same and self._stands(known)
        wanted = ModelHold(account, amount, expires_us)
        owner = self.accounts[account]
        if not self._stands(wanted) or not owner.takes(-amount, owner.balance, 0):
            return False
        owner.held += amount
        self.holds[hold_id] = wanted
        return True

    def capture(self, hold_id: str, credits: Sequence[Leg]) -> bool:
        hold = self.holds.get(hold_id)
        if hold is None or not hold.account or not self._stands(hold):
            return False
        moved = sum(amount for _, amount in credits)
        if moved > hold.amount or any(account == hold.account for account, _ in credits):
            return False
        legs = [(hold.account, -moved), *credits]
        order = ("capture", tuple(sorted(legs)))
        if hold.status == "posted":
            return self.answers[hold_id][0] == order
        if not self._fits(legs, hold):
            return False
        self.accounts[hold.account].held -= hold.amount
        hold.status = "posted"
        self.answers[hold_id] = (order, True)
        self._write(hold_id, legs)
        return True

    def release(self, hold_id: str) -> bool:
        hold = self.holds.setdefault(hold_id, ModelHold("", 0, status="released"))
        if hold.status == "open":
            self.accounts[hold.account].held -= hold.amount
            hold.status = "released"
        return hold.status == "released"

    def expire(self) -> int:
        due = [
            hold
            for hold in self.holds.values()
            if hold.status == "open" and 0 < hold.expires_us <= self.now_us
        ]
        for hold in due:
            self.accounts[hold.account].held -= hold.amount
            hold.status = "released"
        return len(due)

    def close(self, account: str) -> bool:
        owner = self.accounts[account]
        if owner.is_open and (owner.balance or owner.held):
            return False
        owner.is_open = False
        return True

    def block(self, account: str, debits: bool, credits: bool) -> bool:
        owner = self.accounts[account]
        if owner.is_open:
            owner.debits_blocked, owner.credits_blocked = debits, credits
        return owner.is_open

    def limit(self, account: str, overdraft: int, ceiling: int) -> bool:
        owner = self.accounts[account]
        if owner.balance - owner.held < -overdraft or owner.balance > ceiling:
            return False
        owner.floor, owner.ceiling = -overdraft, ceiling
        return True

    def _answer(self, entry_id: str, order: Order, legs: Sequence[Leg], may: bool = True) -> bool:
        if entry_id not in self.answers:
            stands = may and self._fits(legs, None)
            self.answers[entry_id] = (order, stands)
            if stands:
                self._write(entry_id, legs)
        known, stands = self.answers[entry_id]
        return stands and known == order

    def _fits(self, legs: Sequence[Leg], hold: ModelHold | None) -> bool:
        balances = {name: account.balance for name, account in self.accounts.items()}
        for name, amount in legs:
            freed = hold.amount if hold and hold.account == name else 0
            if not self.accounts[name].takes(amount, balances[name], freed):
                return False
            balances[name] += amount
        return True

    def _write(self, entry_id: str, legs: Sequence[Leg]) -> None:
        self.posted[entry_id] = list(legs)
        at_us = max(self.now_us, *(self.accounts[name].last_us for name, _ in legs))
        for name, amount in legs:
            account = self.accounts[name]
            account.balance += amount
            account.last_us = at_us
            account.history.append((at_us, account.balance))

    def _stands(self, hold: ModelHold) -> bool:
        if hold.status == "posted":
            return True
        return hold.status == "open" and not 0 < hold.expires_us <= self.now_us
