"""Whom a change of the contracts would break: buf's findings, told as events and their listeners.

buf names the message or the enum that changed; the events that carry it, directly or within another
message, are found in the baseline, where what was deleted still is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from . import Catalogue, Told

__all__ = ["Impact", "impacts"]

_FINDING: Final = re.compile(r"^(?P<file>[\w/.-]+\.proto):(?:\d+:\d+:)?(?P<text>.*)$")
_SUBJECT: Final = re.compile(r'(?:message|enum|Message|Enum) "(?P<name>[\w.]+)"')
_GONE: Final = re.compile(r'file "(?P<file>[\w/.-]+)" was deleted')
_REFERS: Final = (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM)


@dataclass(frozen=True, slots=True)
class Impact:
    """A breaking change, and the events that it reaches; none if it is of a call."""

    finding: str
    events: Sequence[Told]


def impacts(
    findings: Iterable[str], baseline: FileDescriptorSet, catalogue: Catalogue
) -> list[Impact]:
    """Tells of each of buf's findings which events it reaches."""
    carried = _carried_by(baseline)
    packages = {file.name: file.package for file in baseline.file}
    by_name = {event.name: event for event in catalogue.events}
    found = []
    for finding in findings:
        reached: set[str] = set()
        for name in _subjects(finding, packages, baseline):
            reached |= carried.get(name, set()) | {name}
        found.append(Impact(finding, [by_name[name] for name in sorted(reached & set(by_name))]))
    return found


def _subjects(finding: str, packages: dict[str, str], baseline: FileDescriptorSet) -> Iterable[str]:
    """The full names of what a finding is about."""
    read = _FINDING.match(finding)
    text = read["text"] if read else finding
    file = read["file"] if read else ""
    if gone := _GONE.search(finding):
        for each in baseline.file:
            if each.name == gone["file"]:
                yield from (f"{each.package}.{message.name}" for message in each.message_type)
    for subject in _SUBJECT.finditer(text):
        name = subject["name"]
        yield name
        yield f"{packages.get(file, '')}.{name}"


def _carried_by(baseline: FileDescriptorSet) -> dict[str, set[str]]:
    """For each message and enum, the messages that carry it, through others too."""
    direct: dict[str, set[str]] = {}
    for file in baseline.file:
        for message in file.message_type:
            _collect(f"{file.package}.{message.name}", message, direct)
    closed: dict[str, set[str]] = {}
    for name in direct:
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for carrier in direct.get(waiting.pop(), ()):
                if carrier not in seen:
                    seen.add(carrier)
                    waiting.append(carrier)
        closed[name] = seen
    return closed


def _collect(name: str, message: DescriptorProto, direct: dict[str, set[str]]) -> None:
    for field in message.field:
        if field.type in _REFERS:
            direct.setdefault(field.type_name.removeprefix("."), set()).add(name)
    for nested in message.nested_type:
        inner = f"{name}.{nested.name}"
        direct.setdefault(inner, set()).add(name)
        _collect(inner, nested, direct)
