"""Groups of commands that several modules add to."""

from __future__ import annotations

import typer

__all__ = ["group"]


def group(app: typer.Typer, name: str, help: str) -> typer.Typer:
    """Finds a group of commands, or makes it."""
    for known in app.registered_groups:
        if known.name == name and known.typer_instance is not None:
            return known.typer_instance
    made = typer.Typer(help=help, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(made, name=name)
    return made
