"""What the import contracts cannot say: every service has the same shape, and nothing is long."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = sorted(path.parent for path in (ROOT / "services").glob("*/app.py"))
TOPS = ("mesh", "observability", "services", "benchmarks", "tests")
SOURCES = sorted(path for top in TOPS for path in (ROOT / top).rglob("*.py"))
# Python's own, and the bank's command, which is no service.
NOT_SERVICES = {"__pycache__", "commands", "tests"}

ALWAYS = {"__init__.py", "__main__.py", "app.py", "api.py", "tests"}
SOMETIMES = {"domain.py", "saga.py", "projection.py", "store.py", "migrations"}
SOMETIMES |= {"clients.py", "handlers.py", "tables.py", "checks.py", "facts.py"}
# A rule or a table that has a name of its own, so that no module grows long.
NAMED = {"credentials.py", "documents.py", "sandbox.py", "signing.py", "keys.py", "vault.py"}

MAX_MODULE = 400
MAX_FUNCTION = 60

# The edge owns nothing: it mounts the contracts of others.
WITHOUT_CONTRACT = {"bff"}

# Where amounts are computed, kept or carried; a float would lose centavos.
MONEY = [
    path
    for path in SOURCES
    if path.is_relative_to(ROOT / "services")
    and "tests" not in path.parts
    and "commands" not in path.parts
    and (
        {"accounts", "transfers", "pix", "statements"} & set(path.relative_to(ROOT).parts)
        or path.parent.name == "services"
    )
]


def by_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_look_at() -> None:
    assert len(SERVICES) >= 7
    assert len(SOURCES) > 100


def test_every_folder_of_services_is_a_service() -> None:
    folders = {path for path in (ROOT / "services").iterdir() if path.is_dir()}

    assert {path.name for path in folders} - NOT_SERVICES == {path.name for path in SERVICES}


def test_the_shared_kernel_is_money_and_nothing_else() -> None:
    modules = {path.name for path in (ROOT / "services").glob("*.py")}

    assert modules == {"__init__.py", "__main__.py", "money.py", "wire.py"}


@pytest.mark.parametrize("service", SERVICES, ids=by_path)
def test_every_service_has_the_same_shape(service: Path) -> None:
    # A layer that would grow long is a package of the same name.
    layers = {name.removesuffix(".py") for name in ALWAYS | SOMETIMES if name.endswith(".py")}
    found = {path.name for path in service.iterdir()} - {"__pycache__"}
    names = {f"{name}.py" if name in layers else name for name in found}

    assert names >= ALWAYS
    assert names <= ALWAYS | SOMETIMES | NAMED
    assert ("store.py" in names) == ("migrations" in names)


@pytest.mark.parametrize("service", SERVICES, ids=by_path)
def test_every_service_has_its_contract(service: Path) -> None:
    contract = ROOT / "protos/bank" / service.name / "v1" / f"{service.name}.proto"

    assert contract.exists() != (service.name in WITHOUT_CONTRACT)


@pytest.mark.parametrize("service", SERVICES, ids=by_path)
def test_every_service_says_what_it_is(service: Path) -> None:
    assert ast.get_docstring(ast.parse((service / "__init__.py").read_text()))


@pytest.mark.parametrize("source", SOURCES, ids=by_path)
def test_nothing_is_long(source: Path) -> None:
    text = source.read_text()

    assert len(text.splitlines()) <= MAX_MODULE
    assert [name for name, length in functions(text) if length >= MAX_FUNCTION] == []


@pytest.mark.parametrize("source", MONEY, ids=by_path)
def test_no_float_comes_near_money(source: Path) -> None:
    assert list(floats(ast.parse(source.read_text()))) == []


def test_nothing_imports_tests() -> None:
    culprits = [
        by_path(path)
        for path in SOURCES
        if not {"tests", "benchmarks"} & set(path.parts)
        and any(".tests" in name for name in imports(path.read_text()))
    ]

    assert culprits == []


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    argv = [str(linter), "--no-logo", "--no-cache"]
    path = f"{ROOT}:{ROOT / 'protos/gen'}"
    done = subprocess.run(
        argv, cwd=ROOT, env={"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_import_contracts_cover_what_they_should() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    rules = contracts["importlinter:contract:rules"]

    assert {"grpc", "google", "nats", "sqlmodel", "sqlalchemy", "bank"} <= set(
        rules["forbidden_modules"].split()
    )
    assert "importlinter:contract:independence" in contracts


def functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno


def floats(tree: ast.AST) -> Iterator[str]:
    """Names what makes a float of a whole number: true division, `float`, `round`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield f"line {node.lineno}: /"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("float", "round"):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
