"""test, lint, protos, bench, lock: for contributors."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli import secrets
from mesh.cli.output import progress
from mesh.cli.supply import terms_that_bind
from mesh.supervisor.problem import Problem
from mesh.supervisor.project import Project

__all__ = ["locks_are_clean", "register"]

LOCKS = {"requirements.in": "requirements.lock", "requirements-dev.in": "requirements-dev.lock"}
# The fault runs have the machine to themselves.
SIDE_BY_SIDE = ["--numprocesses=3"]
ANY = {"allow_extra_args": True, "ignore_unknown_options": True}


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    root = project.root

    @app.command(context_settings=ANY)
    def test(
        context: typer.Context,
        faults: Annotated[bool, typer.Option("--faults", help="The long ones too.")] = False,
    ) -> None:
        """Run the tests; further arguments go to pytest."""
        chosen = [] if faults else ["-m", "not faults", *SIDE_BY_SIDE]
        raise typer.Exit(_run(root, [sys.executable, "-m", "pytest", *chosen, *context.args]))

    @app.command()
    def lint() -> None:
        """Check style, types, imports, contracts, locks, licences; look for secrets."""
        failed = [name for name, passes in _lints(root).items() if not _passed(name, passes)]
        if failed:
            what = f"lint failed: {', '.join(failed)}"
            raise Problem(what, "the lines above say where", "correct them; ./bank lint again")

    @app.command()
    def protos(
        check: Annotated[bool, typer.Option("--check", help="Change nothing, only look.")] = False,
        accept: Annotated[
            bool, typer.Option("--accept", help="Make the contracts of now the baseline.")
        ] = False,
    ) -> None:
        """Generate the Python of the contracts."""
        from mesh.cli import protos as contracts

        if check:
            if not _passed("protos", lambda: _contracts_pass(root)):
                why = "they are stale, untidy, or break what is in use"
                raise Problem("the contracts fail", why, "./bank protos")
            return
        changed = contracts.generate(root)
        print("\n".join(changed) if changed else "protos/gen is fresh")
        if accept:
            contracts.accept(root)
            print(f"{contracts.BASELINE} is the baseline now")

    @app.command(context_settings=ANY)
    def bench(context: typer.Context) -> None:
        """Measure; further arguments go to the benchmarks."""
        raise typer.Exit(_run(root, [sys.executable, "-m", "benchmarks", *context.args]))

    @app.command()
    def lock() -> None:
        """Lock the requirements anew, every version by hash."""
        uv = shutil.which("uv")
        if uv is None:
            why = "the locks are made with uv, which is not part of them"
            raise Problem("uv is not on PATH", why, "python3 -m pip install uv, then again")
        for source, target in LOCKS.items():
            argv = [uv, "pip", "compile", source, "-o", target, "--quiet", "--universal"]
            argv += ["--python-version", "3.11", "--generate-hashes", "--no-emit-index-url"]
            argv += ["--no-annotate", "--custom-compile-command", f"./{project.name} lock"]
            if code := _run(root, argv):
                raise typer.Exit(code)


def locks_are_clean(root: Path) -> bool:
    """Whether each lock pins everything by hash, and names no address and no registry."""
    clean = True
    for name in LOCKS.values():
        for number, line in enumerate((root / name).read_text().splitlines(), 1):
            bad = "://" in line or line.lstrip().startswith(("-i", "--index", "--extra", "--find"))
            pins = line[:1].isalnum()
            if bad or (pins and ("==" not in line or not line.endswith("\\"))):
                print(f"{name}:{number}: {line}")
                clean = False
    return clean


def _lints(root: Path) -> dict[str, Callable[[], bool]]:
    def tool(*arguments: str) -> Callable[[], bool]:
        return lambda: _run(root, [sys.executable, "-m", *arguments]) == 0

    linter = Path(sys.executable).with_name("lint-imports")
    return {
        "ruff": tool("ruff", "check", "."),
        "format": tool("ruff", "format", "--check", "--quiet", "."),
        "mypy": tool("mypy"),
        "imports": lambda: _run(root, [str(linter), "--no-logo"]) == 0,
        "protos": lambda: _contracts_pass(root),
        "locks": lambda: locks_are_clean(root),
        "licences": lambda: _none(terms_that_bind(root)),
        "secrets": lambda: _none(secrets.findings(root)),
    }


def _none(found: Iterable[str]) -> bool:
    lines = list(found)
    if lines:
        print("\n".join(lines))
    return not lines


def _contracts_pass(root: Path) -> bool:
    from mesh.cli import protos as contracts

    found = [f"protos/gen/{name} is stale" for name in contracts.stale(root)]
    found += [*contracts.lint(root), *contracts.breaking(root)]
    if found:
        print("\n".join(found))
    return not found


def _passed(name: str, passes: Callable[[], bool]) -> bool:
    passed = passes()
    progress(f"{'✓' if passed else '✗'} {name}")
    return passed


def _run(root: Path, argv: Sequence[str]) -> int:
    return subprocess.run(argv, cwd=root, check=False).returncode
