"""mesh certs: identities for whoever is not started by the supervisor."""

from __future__ import annotations

import enum
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.groups import group
from mesh.cli.output import Output, print_json
from mesh.supervisor.platform import control_data
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["register"]

CONTROL_PLANE = "localhost:18000"


class Step(enum.StrEnum):
    """A step of a change of the root."""

    PREPARE = "prepare"
    SWITCH = "switch"
    RETIRE = "retire"


_DONE = {
    Step.PREPARE: "a new root is trusted; every process hears of it with its next certificate",
    Step.SWITCH: "the new root issues from now on; the old one is still trusted",
    Step.RETIRE: "the old root is trusted no more",
}


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    mesh = group(app, "mesh", "The mesh itself.")
    certs = group(mesh, "certs", "Workload certificates.")

    @certs.command()
    def issue(
        name: Annotated[str, typer.Argument(help="The workload.")],
        out: Annotated[Path, typer.Option(help="The folder to write to.")],
        hours: Annotated[int, typer.Option(help="How long it is good for.", min=1, max=720)] = 24,
    ) -> None:
        """Write a certificate, its key, the roots and a gRPC bootstrap."""
        from mesh.errors import InvalidArgument
        from mesh.identity.files import BOOTSTRAP, issue_files

        data = data_dir(project.root)
        near, ttl = _control_plane(data), timedelta(hours=hours)
        try:
            ends = issue_files(control_data(data), name, out, ttl=ttl, control_plane=near)
        except InvalidArgument as error:
            remedy = "mesh certs issue my-client --out DIR"
            raise Problem(f"{name} cannot be a workload", error.message, remedy, USAGE) from None
        print(f"{out}: spiffe id of {name}, good until {ends:%Y-%m-%d %H:%M} UTC")
        print(f"join the mesh with: GRPC_XDS_BOOTSTRAP={out.absolute() / BOOTSTRAP}")

    @certs.command()
    def token(
        name: Annotated[str, typer.Argument(help="The workload.")],
        minutes: Annotated[int, typer.Option(help="How long it is good for.", min=1)] = 10,
    ) -> None:
        """Print a join token, which a process shows to get its first certificate."""
        from mesh.errors import InvalidArgument
        from mesh.identity.join import mint_join_token

        try:
            data = control_data(data_dir(project.root))
            print(mint_join_token(data, name, timedelta(minutes=minutes)))
        except InvalidArgument as error:
            remedy = "mesh certs token my-service"
            raise Problem(f"{name} cannot be a workload", error.message, remedy, USAGE) from None

    _register_looking(certs, project)
    _register_rotation(certs, project)


def _register_looking(certs: typer.Typer, project: Project) -> None:
    @certs.command()
    def ls(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """List the certificates that are good now: whose, until when, by which authority."""
        from mesh.identity.issued import good_entries
        from mesh.identity.join import authority_directory

        found = good_entries(authority_directory(control_data(data_dir(project.root))))
        if output is Output.JSON:
            print_json({"certificates": [asdict(entry) for entry in found]})
            return
        print(f"{'WORKLOAD':<20} {'GOOD UNTIL (UTC)':<20} {'LEFT':>9} {'ISSUER':<16}  SERIAL")
        for entry in found:
            ends = datetime.fromtimestamp(entry.expires_at, UTC)
            left = str(timedelta(seconds=int((ends - datetime.now(UTC)).total_seconds())))
            until = f"{ends:%Y-%m-%d %H:%M:%S}"
            print(f"{entry.workload:<20} {until:<20} {left:>9} {entry.issuer:<16}  {entry.serial}")


def _register_rotation(certs: typer.Typer, project: Project) -> None:
    @certs.command(name="rotate-root")
    def rotate_root(
        step: Annotated[Step, typer.Argument(help="One after the other.")],
        now: Annotated[
            bool, typer.Option("--now", help="Do not wait for certificates that are behind.")
        ] = False,
    ) -> None:
        """Change the root of the mesh: prepare, then switch, then retire the old one."""
        from mesh.errors import FailedPrecondition
        from mesh.identity import rotation

        data = control_data(data_dir(project.root))
        if step is not Step.PREPARE and not now:
            _wait_for_none(data, step)
        steps = {
            Step.PREPARE: rotation.prepare_root,
            Step.SWITCH: rotation.switch_root,
            Step.RETIRE: rotation.retire_roots,
        }
        try:
            steps[step](data)
        except FailedPrecondition as error:
            remedy = "the steps are: prepare, switch, retire"
            raise Problem(f"the root cannot {step}", error.message, remedy, USAGE) from None
        print(_DONE[step])


def _wait_for_none(data: Path, step: Step) -> None:
    """Raises Problem while there are certificates that a step would cut off."""
    from mesh.identity.rotation import behind

    late = behind(data)
    if late:
        until = datetime.fromtimestamp(max(entry.expires_at for entry in late), UTC)
        names = ", ".join(sorted({entry.workload for entry in late}))
        why = f"{len(late)} good certificates would be cut off, of {names}"
        remedy = f"wait until {until:%Y-%m-%d %H:%M:%S} UTC; or cut them off: --now"
        raise Problem(f"it is too early to {step}", why, remedy)


def _control_plane(data: Path) -> str:
    try:
        return Running.find(data).endpoints.xds
    except Problem:
        return CONTROL_PLANE
