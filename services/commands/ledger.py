"""ledger: do the books add up, what do they say, and is all of the bank of one mind about them?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.calls import ask
from mesh.cli.output import Output, print_json, print_table, progress
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from bank.accounts.v1 import accounts_pb2
    from meshapi.v1 import checks_pb2

__all__ = ["check", "drift", "register", "verify"]

AccountId = Annotated[str, typer.Argument(help="An id, or pix-clearing, fees, treasury.")]
OutputOption = Annotated[Output, typer.Option()]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    ledger = typer.Typer(help="The books.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(ledger, name="ledger")

    def running() -> Running:
        return Running.find(data_dir(project.root))

    @ledger.callback()
    def family() -> None:
        """The books."""

    @ledger.command("verify")
    def verify_command(output: OutputOption = Output.TABLE) -> None:
        """Check that the books are whole; exit 1 if not."""
        raise typer.Exit(_print_verified(verify(running()), output))

    @ledger.command("balance")
    def balance_command(
        account: AccountId,
        at: Annotated[str, typer.Option(help="An instant: 2027-03-01T12:00:00Z.")] = "",
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Print the balance of an account, now or at an instant that is past."""
        _print_balance(running(), account, at, output)

    @ledger.command("statement")
    def statement_command(
        account: AccountId,
        after: Annotated[int, typer.Option(help="Only lines after this version.", min=0)] = 0,
        limit: Annotated[int, typer.Option(help="How many lines.", min=1, max=500)] = 100,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Print the lines of an account as the ledger has them, with their seals."""
        _print_statement(running(), account, after, limit, output)

    @ledger.command("trial-balance")
    def trial_balance_command(output: OutputOption = Output.TABLE) -> None:
        """Print what is on the accounts of each kind; exit 1 if the sides are not equal."""
        raise typer.Exit(_print_trial_balance(running(), output))

    @ledger.command("drift")
    def drift_command(
        output: OutputOption = Output.TABLE,
        last: Annotated[bool, typer.Option(help="Do not look anew: tell what is known.")] = False,
    ) -> None:
        """Have every service check what must always be true; exit 1 if something is not."""
        found = drift(running(), project, whole=not last)
        raise typer.Exit(_print_drift(found, output))


def verify(running: Running) -> accounts_pb2.VerifyLedgerResponse:
    """Asks the ledger to verify itself."""
    from bank.accounts.v1 import accounts_pb2

    service = accounts_pb2.DESCRIPTOR.services_by_name["AccountsService"]
    method = service.methods_by_name["VerifyLedger"]
    answer = ask(running, "accounts", method, accounts_pb2.VerifyLedgerRequest())
    assert isinstance(answer, accounts_pb2.VerifyLedgerResponse)
    return answer


def drift(
    running: Running, project: Project, *, whole: bool = True
) -> dict[str, list[checks_pb2.Check]]:
    """Asks every service for its checks; with `whole`, once all has been looked at anew."""
    from meshapi.v1 import checks_pb2

    service = checks_pb2.DESCRIPTOR.services_by_name["ChecksService"]
    method = service.methods_by_name["ListChecks"]
    found: dict[str, list[checks_pb2.Check]] = {}
    for name in project.services:
        if name == project.edge:
            continue
        progress(f"asking {name}")
        answer: Any = ask(running, name, method, checks_pb2.ListChecksRequest(whole=whole))
        found[name] = list(answer.checks)
    return found


def check(running: Running) -> str:
    """The bank's own check: the books are whole."""
    found = verify(running)
    if not _is_whole(found):
        why = "; ".join(found.faults) or f"the total is {found.total_minor_units}"
        raise Problem("the books are not whole", why, "./bank ledger verify --output json")
    return _sentence(found)


def _ledger(running: Running, method: str, **fields: Any) -> Any:
    """Asks the ledger's own service."""
    from bank.accounts.v1 import ledger_pb2

    found = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"].methods_by_name[method]
    request = getattr(ledger_pb2, found.input_type.name)(**fields)
    return ask(running, "accounts", found, request)


def _print_verified(found: accounts_pb2.VerifyLedgerResponse, output: Output) -> int:
    if output is Output.JSON:
        print_json(
            {
                "entries": found.entries,
                "accounts": found.accounts,
                "totalMinorUnits": found.total_minor_units,
                "faults": list(found.faults),
            }
        )
    else:
        print(_sentence(found))
    return 0 if _is_whole(found) else 1


def _is_whole(found: accounts_pb2.VerifyLedgerResponse) -> bool:
    return found.total_minor_units == 0 and not found.faults


def _sentence(found: accounts_pb2.VerifyLedgerResponse) -> str:
    if not _is_whole(found):
        return "\n".join(["the books are not whole", *found.faults])
    books = f"{found.entries} entries over {found.accounts} accounts"
    return f"{books} sum to {found.total_minor_units}"


def _print_balance(running: Running, account: str, at: str, output: Output) -> None:
    asked = {"at": _instant(at)} if at else {}
    balance = _ledger(running, "LookUpBalance", account_id=account, **asked).balance
    told = {
        "accountId": balance.account_id,
        "at": balance.at.ToJsonString(),
        "minorUnits": balance.balance.minor_units,
        "currencyCode": balance.balance.currency_code,
        "version": balance.version,
    }
    if balance.HasField("available"):
        told["availableMinorUnits"] = balance.available.minor_units
    if output is Output.JSON:
        print_json(told)
    else:
        print_table(list(told), [list(told.values())])


def _instant(text: str) -> datetime:
    """Reads an instant; one without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        why = f"{text} is no time of RFC 3339"
        raise Problem("no such instant", why, "--at 2027-03-01T12:00:00Z", USAGE) from None
    return moment if moment.tzinfo else moment.astimezone()


def _print_statement(
    running: Running, account: str, after: int, limit: int, output: Output
) -> None:
    answer = _ledger(
        running, "ListPostings", account_id=account, after_version=after, page_size=limit
    )
    lines = [
        {
            "version": line.version,
            "occurredAt": line.occurred_at.ToJsonString(),
            "entryId": line.entry_id,
            "minorUnits": line.amount.minor_units,
            "balanceAfter": line.balance_after.minor_units,
            "reverses": line.reverses_entry_id,
            "seal": line.seal.hex(),
        }
        for line in answer.postings
    ]
    if output is Output.JSON:
        print_json({"accountId": account, "lines": lines, "hasMore": answer.has_more})
        return
    columns = ("version", "occurredAt", "entryId", "minorUnits", "balanceAfter", "seal")
    print_table(columns, [[line[name] for name in columns] for line in lines])


def _print_trial_balance(running: Running, output: Output) -> int:
    lines = _ledger(running, "GetTrialBalance").lines
    currencies = {line.currency_code: 0 for line in lines}
    for line in lines:
        currencies[line.currency_code] += line.debit_minor_units - line.credit_minor_units
    if output is Output.JSON:
        kinds = [
            {
                "kind": line.kind,
                "currencyCode": line.currency_code,
                "accounts": line.accounts,
                "debitMinorUnits": line.debit_minor_units,
                "creditMinorUnits": line.credit_minor_units,
            }
            for line in lines
        ]
        print_json({"lines": kinds, "differences": currencies})
    else:
        rows: list[tuple[object, ...]] = []
        for line in lines:
            sides = line.debit_minor_units, line.credit_minor_units
            rows.append((line.kind, line.currency_code, line.accounts, *sides))
        for currency in currencies:
            of = [line for line in lines if line.currency_code == currency]
            debit = sum(line.debit_minor_units for line in of)
            credit = sum(line.credit_minor_units for line in of)
            rows.append(("all", currency, sum(line.accounts for line in of), debit, credit))
        print_table(("kind", "currency", "accounts", "debit", "credit"), rows)
    return 1 if any(currencies.values()) else 0


def _print_drift(found: dict[str, list[checks_pb2.Check]], output: Output) -> int:
    checks = [(service, check) for service, listed in found.items() for check in listed]
    if output is Output.JSON:
        print_json(
            {
                "driftMinorUnits": sum(check.drift for _, check in checks),
                "broken": sum(check.broken for _, check in checks),
                "checks": [_check_json(service, check) for service, check in checks],
            }
        )
    else:
        columns = ("service", "check", "drift", "broken", "rows", "problem")
        print_table(
            columns,
            [
                (service, check.name, check.drift, check.broken, check.looked_at, check.problem)
                for service, check in checks
            ],
        )
        for _, check in checks:
            for finding in check.findings:
                print(finding.sentence)
    return 1 if any(check.broken or check.drift or check.problem for _, check in checks) else 0


def _check_json(service: str, check: checks_pb2.Check) -> dict[str, object]:
    return {
        "service": service,
        "name": check.name,
        "driftMinorUnits": check.drift,
        "broken": check.broken,
        "lookedAt": check.looked_at,
        "sweptAt": check.swept_at.ToJsonString() if check.HasField("swept_at") else None,
        "problem": check.problem,
        "findings": [
            {
                "subject": finding.subject,
                "sentence": finding.sentence,
                "driftMinorUnits": finding.drift,
            }
            for finding in check.findings
        ],
    }
