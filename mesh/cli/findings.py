"""What a check has found: groups of findings, each with a hint and a place to read on."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mesh.cli.output import Output, print_json
from mesh.supervisor.problem import Problem

__all__ = ["DOCUMENT", "Examination", "Finding", "Level", "examined", "tell"]

DOCUMENT = "docs/sight.md"


class Level(enum.StrEnum):
    """How good what was found is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


SIGNS = {Level.OK: "✓", Level.WARNING: "‼", Level.ERROR: "\N{MULTIPLICATION SIGN}"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `check` names it, and its section in the document."""

    check: str
    found: str
    level: Level = Level.OK
    hint: str = ""


#: Looks, and tells what it found. Raises Problem when it is not as it must be.
Examination = Callable[[], Iterable[Finding] | str]


def examined(name: str, look: Examination) -> Iterator[Finding]:
    """Looks at one thing; a Problem is an error that was found."""
    try:
        found = look()
        yield from [Finding(name, found)] if isinstance(found, str) else found
    except Problem as problem:
        yield Finding(name, f"{problem.what}: {problem.why}", Level.ERROR, problem.remedy)


def tell(groups: Iterable[tuple[str, Sequence[Finding]]], output: Output) -> int:
    """Prints findings by group; tells the exit code, which errors make 1."""
    found = list(groups)
    levels = [each.level for _, findings in found for each in findings]
    if output is Output.JSON:
        print_json([_facts(group, each) for group, findings in found for each in findings])
    else:
        for group, findings in found:
            print(group)
            for each in findings:
                print("\n".join(_lines(each)))
        errors, warnings = levels.count(Level.ERROR), levels.count(Level.WARNING)
        print(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    return 1 if Level.ERROR in levels else 0


def _lines(each: Finding) -> Iterator[str]:
    yield f"  {SIGNS[each.level]} {each.check:<14} {each.found}"
    if each.level is not Level.OK:
        hints = [f"→ {each.hint}"] if each.hint else []
        yield f"    {'':<14} {'   '.join([*hints, _place(each)])}"


def _place(each: Finding) -> str:
    return f"{DOCUMENT}#{each.check.replace(' ', '-')}"


def _facts(group: str, each: Finding) -> dict[str, object]:
    facts = {
        "group": group,
        "check": each.check,
        "ok": each.level is not Level.ERROR,
        "level": str(each.level),
        "found": each.found,
    }
    if each.level is not Level.OK:
        facts |= {"hint": each.hint, "docs": _place(each)}
    return facts


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
