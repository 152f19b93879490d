"""The command's root: registers the commands, and turns every failure into three lines.

Commands import what they need when they run, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from mesh.cli import (
    audit,
    authz,
    calls,
    canary,
    certs,
    checks,
    clients,
    deadletters,
    develop,
    events,
    lifecycle,
    looking,
    migrate,
    policy,
    prepare,
    schemas,
    shaping,
    stat,
    supply,
    tap,
    traces,
    traffic,
)
from mesh.supervisor.problem import INTERRUPTED, Problem
from mesh.supervisor.project import Project

__all__ = ["run"]

FAMILIES = (
    lifecycle,
    looking,
    stat,
    tap,
    calls,
    authz,
    audit,
    traces,
    clients,
    policy,
    traffic,
    shaping,
    canary,
    events,
    deadletters,
    schemas,
    certs,
    checks,
    migrate,
    prepare,
    develop,
    supply,
)


def run(project: Project, arguments: Sequence[str] | None = None) -> int:
    """Runs a command; tells the exit code.

    0 ok, 1 failed check, 2 usage, 3 not running, 130 interrupted.
    """
    try:
        code = application(project)(arguments, prog_name=f"./{project.name}", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Problem as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code
    except TyperException as error:
        print(_usage(project, error), file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing more can be told, not at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def application(project: Project) -> typer.Typer:
    """All commands: the mesh's, then the project's own."""
    app = typer.Typer(
        help=f"{project.name} {project.version}: the services, and the mesh they stand on.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for command in project.commands:
        command(app, project)
    for family in FAMILIES:
        family.register(app, project)
    return app


def _usage(project: Project, error: TyperException) -> Problem:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else f"./{project.name}"
    why = "the command line is not what it expects"
    if context is not None:
        why = " ".join(context.get_usage().split())
    return Problem(error.format_message().rstrip("."), why, f"{path} --help", error.exit_code)
