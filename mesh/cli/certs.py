"""mesh certs: identities for whoever is not started by the supervisor."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from mesh.supervisor.platform import control_data
from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project
from mesh.supervisor.running import Running, data_dir

__all__ = ["register"]

CONTROL_PLANE = "localhost:18000"


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    mesh = typer.Typer(help="The mesh itself.", no_args_is_help=True, rich_markup_mode=None)
    certs = typer.Typer(help="Workload certificates.", no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(mesh, name="mesh")
    mesh.add_typer(certs, name="certs")

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


def _control_plane(data: Path) -> str:
    try:
        return Running.find(data).endpoints.xds
    except Problem:
        return CONTROL_PLANE
