"""users: what an operator does about people, and about the keys that sign their tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mesh.cli.calls import ask
from mesh.cli.output import Output, print_json
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["register"]

OutputForm = Annotated[Output, typer.Option()]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    users = typer.Typer(help="People, and keys.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(users, name="users")

    @users.command("rotate-key")
    def rotate_key(
        lead: Annotated[
            int,
            typer.Option(min=0, max=86_400, help="Seconds until it signs, 6 at least."),
        ] = 60,
        output: OutputForm = Output.TABLE,
    ) -> None:
        """Make a new key for tokens: published now, signing after a while."""
        from bank.users.v1 import staff_pb2 as pb

        request = pb.RotateTokenKeyRequest()
        request.lead.FromSeconds(lead)
        made = _ask(project, "RotateTokenKey", request)
        signs_from = made.signs_from.ToJsonString()
        if output is Output.JSON:
            print_json({"kid": made.kid, "signsFrom": signs_from})
        else:
            print(f"{made.kid} is published, and signs from {signs_from}")

    @users.command("add-staff")
    def add_staff(
        email: str, name: Annotated[str, typer.Option(help="The person's name.")]
    ) -> None:
        """Add a member of the staff, who is sent a code to set a password with."""
        from bank.users.v1 import staff_pb2 as pb

        request = pb.CreateStaffUserRequest(email=email, full_name=name)
        print(_ask(project, "CreateStaffUser", request).user.user_id)

    @users.command()
    def disable(user_id: str) -> None:
        """Keep a user from signing in, and end their sessions."""
        _set_disabled(project, user_id, disabled=True)

    @users.command()
    def enable(user_id: str) -> None:
        """Let a disabled user sign in again."""
        _set_disabled(project, user_id, disabled=False)


def _set_disabled(project: Project, user_id: str, *, disabled: bool) -> None:
    from bank.users.v1 import staff_pb2 as pb

    request = pb.SetUserDisabledRequest(user_id=user_id, disabled=disabled)
    _ask(project, "SetUserDisabled", request)


def _ask(project: Project, method: str, request: Message) -> Any:
    from bank.users.v1 import staff_pb2 as pb

    contract = pb.DESCRIPTOR.services_by_name["StaffService"]
    running = Running.find(data_dir(project.root))
    return ask(running, "users", contract.methods_by_name[method], request)
