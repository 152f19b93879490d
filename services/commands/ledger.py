"""ledger verify: does all the money that there is add up to nothing?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mesh.cli.calls import ask
from mesh.cli.output import Output, print_json
from mesh.supervisor.problem import Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from bank.accounts.v1 import accounts_pb2

__all__ = ["check", "register", "verify"]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    ledger = typer.Typer(help="The books.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(ledger, name="ledger")

    @ledger.callback()
    def family() -> None:
        """The books."""

    @ledger.command("verify")
    def verify_command(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """Check that the books are whole; exit 1 if not."""
        found = verify(Running.find(data_dir(project.root)))
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
        raise typer.Exit(0 if _is_whole(found) else 1)


def verify(running: Running) -> accounts_pb2.VerifyLedgerResponse:
    """Asks the ledger to verify itself."""
    from bank.accounts.v1 import accounts_pb2

    service = accounts_pb2.DESCRIPTOR.services_by_name["AccountsService"]
    method = service.methods_by_name["VerifyLedger"]
    answer = ask(running, "accounts", method, accounts_pb2.VerifyLedgerRequest())
    assert isinstance(answer, accounts_pb2.VerifyLedgerResponse)
    return answer


def check(running: Running) -> str:
    """The bank's own check: the books are whole."""
    found = verify(running)
    if not _is_whole(found):
        why = "; ".join(found.faults) or f"the total is {found.total_minor_units}"
        raise Problem("the books are not whole", why, "./bank ledger verify --output json")
    return _sentence(found)


def _is_whole(found: accounts_pb2.VerifyLedgerResponse) -> bool:
    return found.total_minor_units == 0 and not found.faults


def _sentence(found: accounts_pb2.VerifyLedgerResponse) -> str:
    if not _is_whole(found):
        return "\n".join(["the books are not whole", *found.faults])
    books = f"{found.entries} entries over {found.accounts} accounts"
    return f"{books} sum to {found.total_minor_units}"
