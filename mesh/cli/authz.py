"""authz: who may call what, as the contracts say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mesh.cli.output import Output, print_json, print_table
from mesh.supervisor.project import Project

if TYPE_CHECKING:
    from mesh.catalogue.access import Caller, Rule

__all__ = ["register"]


def register(app: typer.Typer, project: Project) -> None:
    """Adds the command."""

    @app.command()
    def authz(
        method: Annotated[str, typer.Argument(help="A part of the names to show.")] = "",
        every: Annotated[bool, typer.Option("--every", help="A column for each caller.")] = False,
        output: Annotated[Output, typer.Option()] = Output.TABLE,
    ) -> None:
        """Print every method against everybody who could try, with the reason of a refusal."""
        from mesh.catalogue.access import callers, key_scopes, rules
        from mesh.cli.calls import methods
        from mesh.settings import Settings

        known = methods(project.root, [*project.contracts, "meshapi"])
        every_rule = rules(known.values())
        found = [rule for rule in every_rule if method in rule.path]
        tried = callers(project.services, key_scopes(every_rule))
        edges: frozenset[str] = Settings.model_fields["edges"].default
        if output is Output.JSON:
            print_json([_facts(rule, tried, edges) for rule in found])
        elif every:
            columns = ["METHOD", *(caller.name.upper() for caller in tried)]
            cells = [
                [rule.path, *(rule.refusal(caller, edges) or "yes" for caller in tried)]
                for rule in found
            ]
            print_table(columns, cells)
        else:
            _print_short(found, tried, edges)


def _print_short(found: list[Rule], tried: list[Caller], edges: frozenset[str]) -> None:
    rows = [
        (
            rule.path,
            rule.access,
            ", ".join(rule.policy.callers) or None,
            ", ".join(rule.policy.roles) or None,
            "yes" if rule.policy.step_up else None,
            ", ".join(each.name for each in tried if not rule.refusal(each, edges)),
        )
        for rule in found
    ]
    print_table(("METHOD", "ACCESS", "CALLERS", "ROLES", "STEP-UP", "LET THROUGH"), rows)


def _facts(rule: Rule, tried: list[Caller], edges: frozenset[str]) -> dict[str, object]:
    return {
        "method": rule.path,
        "access": rule.access,
        "callers": list(rule.policy.callers),
        "roles": list(rule.policy.roles),
        "scopes": list(rule.policy.scopes),
        "key_scope": rule.policy.key_scope,
        "step_up": rule.policy.step_up,
        "sandbox": rule.policy.sandbox,
        "verdicts": {each.name: rule.refusal(each, edges) or "yes" for each in tried},
    }
