"""The demo's story: each step does one thing through the REST API, then reads it back.

A step ends with its evidence, as a sentence; whatever is not as it must be is a Problem.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx2

from mesh.ids import new_id
from mesh.supervisor.embedded import Embedded
from mesh.supervisor.problem import Problem
from mesh.supervisor.running import Running
from observability.client import Trace, TraceClient, TraceNotFound
from services.commands.customer import Answer, Customer, Person, eventually, reais
from services.commands.ledger import verify

__all__ = ["STEPS", "Story", "steps_of"]

ANA = Person(
    full_name="Ana Souza",
    email="ana@padaria.example",
    cpf="529.982.247-25",
    legal_name="Padaria da Ana Ltda",
    cnpj="11.222.333/0001-81",
)
BRUNO = Person(
    full_name="Bruno Lima",
    email="bruno@moinho.example",
    cpf="111.444.777-35",
    legal_name="Moinho do Bruno Ltda",
    cnpj="11.444.777/0001-61",
)

DEPOSIT = 1_000_00
FLOUR = 250_00
PACKAGING = 99_90
BOXES = 10_00
SUPPLIER = {
    "name": "Embalagens Lima Ltda",
    "document": "12.ABC.345/01DE-35",
    "pixKey": "vendas@embalagens.example",
}

# The trace of a payment, from the app's request to the last who hears of it.
PARTIES = {"bff", "transfers", "accounts", "statements", "notifications"}


@dataclass
class Story:
    """The two customers, the bank, and what the steps hand on.

    A bank that was not started here is `embedded` in nothing; `traces` is where its Jaeger answers.
    """

    embedded: Embedded | None
    client: httpx2.AsyncClient
    traces: str = ""
    people: tuple[Person, Person] = (ANA, BRUNO)
    key: str = field(default_factory=new_id)
    transfer_id: str = ""
    trace_id: str = ""
    drawing: str = ""

    def __post_init__(self) -> None:
        self.ana, self.bruno = (Customer(self.client, person) for person in self.people)

    async def sign_up(self) -> str:
        for customer in (self.ana, self.bruno):
            user = await customer.sign_up()
            _must("a new user's status", user["status"], "PENDING")
        return f"{ANA.legal_name} and {BRUNO.legal_name} are signed up, their users PENDING"

    async def confirm(self) -> str:
        for customer in (self.ana, self.bruno):
            user = await customer.confirm(await customer.code())
            _must("the status", user["status"], "CONFIRMED")
        return "the codes came by mail (an event, a saga); both users are CONFIRMED"

    async def sign_in(self) -> str:
        for customer in (self.ana, self.bruno):
            await customer.sign_in()
        me = await self.ana.get("/v1/me")
        _must("the user of the token", me["user"]["email"], self.ana.person.email)
        _must("the company", me["companies"][0]["legalName"], self.ana.person.legal_name)
        return f"GET /v1/me answers {me['user']['email']}, {me['companies'][0]['role']}"

    async def see_account(self) -> str:
        for customer in (self.ana, self.bruno):
            account = await customer.account()
            _must("the account", account["status"], "OPEN")
            _must("the balance", account["balance"]["minorUnits"], "0")
        return f"account {self.ana.account_id} is OPEN at {reais(0)}; nobody called accounts"

    async def receive(self) -> str:
        deposit = await self.ana.receive(DEPOSIT)
        await self._balance(self.ana, DEPOSIT)
        return f"Pix {deposit['endToEndId']} is in: the balance is {reais(DEPOSIT)}"

    async def pay_company(self) -> str:
        paid = await self._pay_flour()
        transfer = paid.body["transfer"]
        self.transfer_id, self.trace_id = transfer["transferId"], paid.trace_id
        _must("the transfer", transfer["status"], "COMPLETED")
        await self._balance(self.ana, DEPOSIT - FLOUR)
        await self._balance(self.bruno, FLOUR)
        return f"COMPLETED; {reais(DEPOSIT - FLOUR)} here, {reais(FLOUR)} there"

    async def pay_supplier(self) -> str:
        supplier = (await self.ana.post("/v1/suppliers", SUPPLIER)).body["supplier"]
        payee = {"supplierId": supplier["supplierId"]}
        paid = await self.ana.pay(payee, PACKAGING, "embalagens")
        transfer = await self._completed(self.ana, paid.body["transfer"]["transferId"])
        await self._balance(self.ana, DEPOSIT - FLOUR - PACKAGING)
        _must("what is available", await self.ana.available(), DEPOSIT - FLOUR - PACKAGING)
        return f"COMPLETED as Pix {transfer['endToEndId']}; nothing is held any more"

    async def read_statement(self) -> str:
        async def all_lines() -> dict[str, object] | None:
            found = await self.ana.statement()
            return found if len(found["entries"]) == 3 else None

        statement = await eventually("the third line of the statement", all_lines)
        lines = statement["entries"]
        assert isinstance(lines, list)
        balance = 0
        for line in reversed(lines):
            balance += int(line["amount"]["minorUnits"])
            _must("the running balance", int(line["balanceAfter"]["minorUnits"]), balance)
        _must("the last balance", balance, await self.ana.balance())
        told = ", ".join(reais(int(line["amount"]["minorUnits"])) for line in reversed(lines))
        return f"{told} → {reais(balance)}, as of version {statement['asOfVersion']}"

    async def repeat(self) -> str:
        before = await self.ana.balance()
        again = await self._pay_flour()
        _must("the transfer", again.body["transfer"]["transferId"], self.transfer_id)
        _must("the header Idempotent-Replayed", again.replayed, True)
        await self._balance(self.ana, before)
        return f"the same transfer {self.transfer_id}, marked as replayed; the money moved once"

    async def survive_a_kill(self) -> str:
        before = await self.ana.balance()
        assert self.embedded is not None
        instance = self.embedded.instances["accounts"][0]
        killed = instance.pid
        if killed is None:
            raise Problem("accounts has no process", instance.missing, "./bank logs accounts")
        # Stopped first, so that the payment is asked of it and unanswered for certain.
        os.kill(killed, signal.SIGSTOP)
        try:
            payee = {"accountId": self.bruno.account_id}
            paid = await self.ana.pay(payee, BOXES, "caixas", wait_s=1)
            _must("the transfer under way", paid.body["transfer"]["status"], "PENDING")
        finally:
            os.kill(killed, signal.SIGKILL)
        transfer_id = paid.body["transfer"]["transferId"]
        await self._completed(self.ana, transfer_id)
        await self._balance(self.ana, before - BOXES)
        return f"PENDING, kill -9 {killed}, COMPLETED by {instance.pid}; the money moved once"

    async def be_notified(self) -> str:
        async def look() -> str | None:
            messages = await self.ana.notifications()
            about = [each for each in messages if each["transferId"] == self.transfer_id]
            if len(about) > 1:
                why = f"{len(about)} messages about transfer {self.transfer_id}"
                raise Problem("told more than once", why, "./bank logs notifications")
            return f"one message: {about[0]['subject']}" if about else None

        return await eventually("a message about the payment", look)

    async def see_trace(self) -> str:
        from observability.tree import count_orphans, render

        async def whole() -> Trace | None:
            try:
                trace = await TraceClient(self.traces).get(self.trace_id)
            except TraceNotFound:
                return None
            complete = {span.service for span in trace.spans} >= PARTIES
            return trace if complete and count_orphans(trace) == 0 else None

        trace = await eventually(f"trace {self.trace_id} with {', '.join(sorted(PARTIES))}", whole)
        self.drawing = render(trace, width=110)
        services = {span.service for span in trace.spans}
        return f"{len(trace.spans)} spans of {len(services)} services in one trace, 0 orphans"

    async def verify_ledger(self) -> str:
        assert self.embedded is not None
        found = await asyncio.to_thread(verify, Running.find(self.embedded.data))
        _must("the sum of the ledger", found.total_minor_units, 0)
        _must("the faults of the ledger", list(found.faults), [])
        return f"{found.entries} entries over {found.accounts} accounts sum to 0"

    async def _pay_flour(self) -> Answer:
        payee = {"accountId": self.bruno.account_id}
        return await self.ana.pay(payee, FLOUR, "farinha", key=self.key)

    async def _completed(self, customer: Customer, transfer_id: str) -> dict[str, str]:
        async def look() -> dict[str, str] | None:
            transfer = await customer.transfer(transfer_id)
            if transfer["status"] == "FAILED":
                why = f"{transfer_id}: {transfer['failureReason']}"
                raise Problem("the payment failed", why, "./bank logs transfers")
            return transfer if transfer["status"] == "COMPLETED" else None

        return await eventually(f"the end of transfer {transfer_id}", look)

    async def _balance(self, customer: Customer, expected: int) -> None:
        found = await customer.balance()
        _must(f"the balance of {customer.person.legal_name}", reais(found), reais(expected))


def _must(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise Problem(f"{what} is wrong", f"{found!r}, not {expected!r}", "./bank logs")


Step = Callable[[Story], Awaitable[str]]

STEPS: tuple[tuple[str, Step], ...] = (
    ("Two companies sign up", Story.sign_up),
    ("They confirm with the code from the mailbox", Story.confirm),
    ("They sign in", Story.sign_in),
    ("Their accounts have opened by themselves", Story.see_account),
    (f"{ANA.legal_name} receives {reais(DEPOSIT)} by Pix", Story.receive),
    (f"It pays {reais(FLOUR)} to {BRUNO.legal_name}", Story.pay_company),
    (f"It saves a supplier, and pays it {reais(PACKAGING)} by Pix", Story.pay_supplier),
    ("It reads its statement", Story.read_statement),
    ("It repeats the payment with the same key", Story.repeat),
    ("It was told of the payment", Story.be_notified),
    ("The payment is one trace, from REST to notification", Story.see_trace),
    # After the trace is read: a killed process takes the spans with it that it had not sent.
    (f"It pays {reais(BOXES)} while accounts is killed", Story.survive_a_kill),
    ("The ledger is verified", Story.verify_ledger),
)

# These need the machine that the bank runs on.
LOCAL = (Story.survive_a_kill, Story.verify_ledger)


def steps_of(story: Story) -> list[tuple[str, Step]]:
    """Lists the steps that can be taken with this bank."""
    return [
        (title, step)
        for title, step in STEPS
        if (story.embedded or step not in LOCAL) and (story.traces or step is not Story.see_trace)
    ]
