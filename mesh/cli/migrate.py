"""migrate: brings databases up to date, as a job that ends before the new code starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mesh.supervisor.problem import USAGE, Problem
from mesh.supervisor.project import Project

__all__ = ["DATABASE_URL", "migrations_of", "register", "with_database"]

DATABASE_URL = "mesh_database_url"
"""The name of a file that holds the URL of a service's database."""

_PAUSE_S = 0.5


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command()
    def migrate(
        services: Annotated[
            list[str] | None, typer.Argument(help="Services; all that have a database.")
        ] = None,
        secrets: Annotated[
            Path | None,
            typer.Option(help=f"A folder with SERVICE/{DATABASE_URL}; else the settings say."),
        ] = None,
        patience: Annotated[
            float, typer.Option(help="Seconds to wait for a database that is not up.", min=0)
        ] = 60.0,
    ) -> None:
        """Bring the services' databases up to date."""
        urls = dict(_urls(project, services or with_database(project), secrets))
        if len(set(urls.values())) < len(urls):
            why = f"{', '.join(urls)} would share a database"
            remedy = "migrate one service, or give --secrets"
            raise Problem("one database for several services", why, remedy, USAGE)
        for name, url in urls.items():
            _migrate(url, name, migrations_of(project, name), patience)
            print(f"{name}: up to date")


def migrations_of(project: Project, name: str) -> Path:
    """Tells where the migrations of a service are, if it has any."""
    return project.root / project.package / name / "migrations"


def with_database(project: Project) -> list[str]:
    """Lists the services that own data."""
    return [name for name in project.services if migrations_of(project, name).is_dir()]


def _urls(project: Project, names: list[str], secrets: Path | None) -> Iterator[tuple[str, str]]:
    for name in names:
        if not migrations_of(project, name).is_dir():
            why = f"with one: {', '.join(with_database(project))}"
            raise Problem(f"{name} has no database", why, "migrate --help", USAGE)
        if secrets is None:
            from mesh.settings import Settings

            yield name, Settings(service=name).database_url
            continue
        try:
            yield name, (secrets / name / DATABASE_URL).read_text().strip()
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise Problem(f"no database is known for {name}", why, "prepare --help") from None


def _migrate(url: str, name: str, versions: Path, patience_s: float) -> None:
    from mesh.db.migrate import migrate
    from mesh.errors import Transient

    until = time.monotonic() + patience_s
    while True:
        try:
            return migrate(url, versions)
        except ValueError as error:
            raise Problem(f"the database of {name} is unknown", str(error), "", USAGE) from None
        except Transient as error:
            if time.monotonic() > until:
                remedy = "start the database, then again"
                raise Problem(f"{name} is not migrated", error.message, remedy) from None
        time.sleep(_PAUSE_S)
