"""What the supervisor and the command are told about the programs they run."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from mesh.supervisor.running import Running

__all__ = ["Check", "DatabaseKind", "Project"]

#: Answers with what was found, as one sentence; raises `Problem` when it is not as it must be.
Check = Callable[["Running"], str]


class DatabaseKind(enum.StrEnum):
    """Where the services of an embedded profile keep their data."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A set of services that make one system.

    `services` are started as `python -m <package>.<service>` from `root`; `edge` is the one that
    serves REST. `contracts` are the top packages of the contracts. `checks` are the system's own,
    run by `check` after the mesh's.
    """

    name: str
    version: str
    root: Path
    services: Sequence[str]
    edge: str
    package: str = "services"
    contracts: Sequence[str] = ()
    commands: Sequence[Callable[[typer.Typer, Project], None]] = ()
    checks: Mapping[str, Check] | None = None
