"""What the payments of the crash matrix have left in databases, streams and statements."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.e2e.test_events import typed

from .matrix import Cell, Stage

STREAMS = ("transfers", "pix", "accounts")


@dataclass(frozen=True, kw_only=True)
class Left:
    """What there is of a cell when all is quiet."""

    states: tuple[str, ...]
    moved: tuple[int, int]
    ledger: Mapping[tuple[str, int], int]
    holds: tuple[str, ...]
    unfinished: int
    events: Mapping[str, int]
    lines: Mapping[str, int]
    told: Mapping[str, int]


class Books:
    """All that databases, streams and statements hold, read once when all is quiet."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.events: list[dict[str, Any]] = []
        self.statements: dict[str, list[dict[str, Any]]] = {}

    async def read(self) -> None:
        bank = self.stage.bank
        queries = {
            "transfers": ("transfers", "SELECT id, status, failure_reason AS why FROM transfers"),
            "payments": ("pix", "SELECT id, status, rejection_code AS why FROM payments"),
            "deposits": ("pix", "SELECT id, status, rejection_code AS why FROM deposits"),
            "returns": ("pix", "SELECT id, status, failure_reason AS why FROM returns"),
            "holds": ("accounts", "SELECT id, status FROM holds"),
            "entries": (
                "accounts",
                "SELECT entry_id AS id, transfer_id, account_id, minor_units FROM postings"
                " JOIN entries ON entries.id = entry_id",
            ),
            "messages": ("notifications", "SELECT transfer_id AS id, kind FROM messages"),
            "mails": (
                "notifications",
                "SELECT transfer_id AS id, mails.kind FROM mails"
                " JOIN messages ON messages.id = message_id",
            ),
        }
        for name, (service, query) in queries.items():
            self.rows[name] = await bank.query(service, query)
        for service in ("transfers", "pix"):
            sagas = "SELECT entity_id AS id, status FROM sagas"
            self.rows["sagas"] = self.rows.get("sagas", []) + await bank.query(service, sagas)
        for service in STREAMS:
            told = await typed(
                bank, "tail", f"bank.{service}.v1.>", "-n", "1000", "--output", "json"
            )
            self.events += map(json.loads, told.splitlines())
        for customer in (self.stage.payer, self.stage.payee):
            self.statements[customer.account_id] = await customer.lines()

    def left(self, cell: Cell) -> Left:
        ids = set(cell.ids)
        legs = [
            row for row in self.rows["entries"] if row["id"] in ids or row["transfer_id"] in ids
        ]
        entries = {leg["id"] for leg in legs}
        own = {self.stage.payer.account_id: "payer", self.stage.payee.account_id: "payee"}
        moved = Counter[str]()
        for leg in legs:
            moved[own.get(leg["account_id"], leg["account_id"])] += leg["minor_units"]
        concerned = ids | entries
        return Left(
            states=tuple(
                sorted(
                    f"{row['status']} {row['why']}".strip()
                    for table in ("transfers", "payments", "deposits", "returns")
                    for row in self.rows[table]
                    if row["id"] in ids
                )
            ),
            moved=(moved["payer"], moved["payee"]),
            ledger=Counter(
                (own.get(leg["account_id"], leg["account_id"]), leg["minor_units"]) for leg in legs
            ),
            holds=tuple(sorted(row["status"] for row in self._of("holds", ids))),
            unfinished=sum(row["status"] == "running" for row in self._of("sagas", ids)),
            events=Counter(
                event["type"].rpartition(".")[2]
                for event in self.events
                if concerned & {each for each in event["data"].values() if isinstance(each, str)}
            ),
            lines=Counter(
                own[account]
                for account, lines in self.statements.items()
                for line in lines
                if line["entryId"] in entries
            ),
            told=Counter(
                f"{table} {row['kind']}"
                for table in ("messages", "mails")
                for row in self._of(table, ids)
            ),
        )

    def _of(self, table: str, ids: set[str]) -> list[dict[str, Any]]:
        return [row for row in self.rows[table] if row["id"] in ids]
