"""sbom, licences: what the software is made of, and on which terms, read from the locks."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mesh.cli.output import Output, print_json, print_table
from mesh.supervisor.problem import Problem
from mesh.supervisor.project import Project

__all__ = ["RUNTIME", "TOOLS", "Package", "bill", "locked", "register", "terms_that_bind"]

RUNTIME: Final = "requirements.lock"
TOOLS: Final = "requirements-dev.lock"

#: SPDX identifiers (spdx.org/licenses) that ask for no more than to be named.
FREE: Final = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0"}
)
#: What is linked as it comes, and changed by nobody here.
AS_IT_COMES: Final = FREE | {"LGPL-2.1-or-later", "MPL-2.0"}
#: What only works on the software, and goes nowhere with it.
FOR_TOOLS: Final = AS_IT_COMES | {"GPL-3.0-only", "GPL-3.0-or-later"}
ALLOWED: Final[dict[str, frozenset[str]]] = {RUNTIME: AS_IT_COMES, TOOLS: FOR_TOOLS}

#: What packages say that have no SPDX expression.
_SAID: Final = {
    "MIT License": "MIT",
    "BSD-3-Clause": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache-2.0": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
    "GPL-3.0": "GPL-3.0-only",
    "MIT": "MIT",
}
_PIN: Final = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)(?P<marker> *;)?"
)
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAMESPACE: Final = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


@dataclass(slots=True)
class Package:
    """A package of a lock: the hashes are those of its files, any of which may be installed.

    `licence` is an SPDX expression; empty when the package is of another platform, or does not say.
    """

    name: str
    version: str
    is_conditional: bool
    hashes: list[str]
    licence: str


def register(app: typer.Typer, project: Project) -> None:
    """Adds the commands."""
    root = project.root

    @app.command()
    def sbom(
        tools: Annotated[bool, typer.Option("--tools", help="What works on it, too.")] = False,
    ) -> None:
        """Print the bill of materials: CycloneDX 1.6, in JSON."""
        print_json(bill(project, [RUNTIME, TOOLS] if tools else [RUNTIME]))

    @app.command()
    def licences(output: Annotated[Output, typer.Option()] = Output.TABLE) -> None:
        """List what is used, and on which terms; exit 1 if some of them are not allowed."""
        rows = [(lock, package) for lock in ALLOWED for package in locked(root, lock)]
        if output is Output.JSON:
            print_json(
                [
                    {
                        "name": each.name,
                        "version": each.version,
                        "licence": each.licence,
                        "lock": lock,
                    }
                    for lock, each in rows
                ]
            )
        else:
            table = ((each.name, each.version, each.licence or "-", lock) for lock, each in rows)
            print_table(("PACKAGE", "VERSION", "LICENCE", "LOCK"), table)
        if bad := list(terms_that_bind(root)):
            remedy = "another package; or, if it is meant, mesh/cli/supply.py"
            raise Problem("there are terms that are not allowed", "; ".join(bad), remedy)


def locked(root: Path, lock: str) -> list[Package]:
    """Reads a lock. The tools' one has everything of the other, too, which is left out."""
    found = list(_read(root / lock))
    if lock == TOOLS:
        others = {(each.name, each.version) for each in _read(root / RUNTIME)}
        return [each for each in found if (each.name, each.version) not in others]
    return found


def terms_that_bind(root: Path) -> Iterator[str]:
    """Tells the packages whose licence is not allowed where they are used, or not known."""
    for lock, allowed in ALLOWED.items():
        for each in locked(root, lock):
            if not each.licence:
                # One of another platform is looked at there.
                if not each.is_conditional:
                    yield f"{lock}: {each.name} {each.version} does not say"
            elif not _words(each.licence) <= allowed:
                yield f"{lock}: {each.name} {each.version} is {each.licence}"


def bill(project: Project, locks: Sequence[str]) -> dict[str, Any]:
    """Makes a bill of materials (CycloneDX 1.6, ECMA-424): the same for the same locks."""
    texts = "".join((project.root / lock).read_text() for lock in locks)
    own = f"{project.name}@{project.version}"
    packages = [(lock, each) for lock in locks for each in locked(project.root, lock)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, sha256(texts.encode()).hexdigest())}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project.name,
                "version": project.version,
            }
        },
        "components": [_component(lock, each) for lock, each in packages],
        "dependencies": [{"ref": own, "dependsOn": [_purl(each) for _, each in packages]}],
    }


def _component(lock: str, package: Package) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
        "scope": "required" if lock == RUNTIME else "excluded",
        "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
    }
    if package.licence:
        made["licenses"] = [{"expression": package.licence}]
    return made


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name.lower().replace('_', '-')}@{package.version}"


def _read(path: Path) -> Iterator[Package]:
    package: Package | None = None
    for line in path.read_text().splitlines():
        if pin := _PIN.match(line):
            if package is not None:
                yield package
            name, version = pin["name"], pin["version"]
            package = Package(name, version, bool(pin["marker"]), [], _licence(name))
        elif package is not None:
            package.hashes += _HASH.findall(line)
    if package is not None:
        yield package


def _licence(name: str) -> str:
    """The licence of an installed package as an SPDX expression; empty if it is not known."""
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return ""
    if "License-Expression" in said:
        return said["License-Expression"]
    first = said["License"].strip().partition("\n")[0] if "License" in said else ""
    if first in _SAID:
        return _SAID[first]
    classifiers = [str(each) for each in said.get_all("Classifier") or ()]
    known = {
        _SAID[word]
        for each in classifiers
        if each.startswith("License ::") and (word := each.rpartition(":: ")[2]) in _SAID
    }
    return " AND ".join(sorted(known))


def _words(expression: str) -> frozenset[str]:
    """Every licence of an expression: whichever may be chosen, all of them are to be allowed."""
    return frozenset(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
