"""Filters: which events a reaction wants, told by what is in them. No I/O.

The language is that of SNS filter policies on a message's body: keys are fields, all of them must
fit, and a list holds alternatives:

    {"amount": {"minor_units": [{"numeric": [">=", 100_000]}]}, "counterparty": ["BANK", "PIX"]}

An alternative is a value (`"BANK"`, `5`, `True`) or an operator: `prefix`, `suffix`,
`equals-ignore-case`, `anything-but` (values, or one of the operators before), `numeric`, `exists`,
`cidr`. `$or` holds a list of filters, of which one must fit. A field that is repeated fits if one
of its values does. Beside fields there are the envelope's `ce-type`, `ce-source` and `ce-subject`,
and the attributes that were told with the event, `ce-<name>`: texts, which `numeric` reads as
numbers.

What is malformed is refused when the filter is made, with the place where it is.
"""

from __future__ import annotations

import ipaddress
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from . import Event
from .envelope import is_attribute

__all__ = ["MAX_COMBINATIONS", "MAX_KEYS", "Filter", "MalformedFilter", "compile_filter"]

MAX_KEYS: Final = 5
"""The most fields that a filter may name, as in SNS."""

MAX_COMBINATIONS: Final = 150
"""The most alternatives that a filter may have, multiplied over its fields, as in SNS."""

Filter: TypeAlias = Callable[[Event[Any]], bool]
Test: TypeAlias = Callable[[Any], bool]
Read: TypeAlias = Callable[[Event[Any]], list[Any]]

_ATTRIBUTES: Final[Mapping[str, Read]] = {
    "ce-type": lambda event: [event.type],
    "ce-source": lambda event: [event.source],
    "ce-subject": lambda event: [event.key],
}
_COMPARISONS: Final = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LOWER: Final = (">", ">=")
_UPPER: Final = ("<", "<=")
_SCALARS: Final = (str, bool, int, float)


class _Text(str):
    """The value of an attribute, which may be a number."""

    __slots__ = ()


class MalformedFilter(ValueError):
    """A filter that means nothing: `place` is where, `problem` why."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"filter at {place or 'its top'}: {problem}")
        self.place = place
        self.problem = problem


def compile_filter(policy: Mapping[str, Any], kind: Descriptor) -> Filter:
    """Makes a filter for events of a message. Raises `MalformedFilter`."""
    if not policy:
        raise MalformedFilter("", "it is empty")
    keys, combinations = _size(policy)
    if keys > MAX_KEYS:
        raise MalformedFilter("", f"it names {keys} fields; {MAX_KEYS} are allowed")
    if combinations > MAX_COMBINATIONS:
        raise MalformedFilter(
            "", f"it has {combinations} combinations; {MAX_COMBINATIONS} are allowed"
        )
    return _all(policy, kind, (), "")


def _size(policy: Any) -> tuple[int, int]:
    """Counts the fields that a filter names, and the combinations of their alternatives."""
    keys, combinations = 0, 1
    for name, rule in policy.items() if isinstance(policy, Mapping) else ():
        if name == "$or" and isinstance(rule, Sequence):
            sizes = [_size(branch) for branch in rule]
            keys += sum(size[0] for size in sizes)
            combinations *= max(1, sum(size[1] for size in sizes))
        elif isinstance(rule, Mapping):
            inner_keys, inner = _size(rule)
            keys, combinations = keys + inner_keys, combinations * inner
        else:
            keys += 1
            combinations *= max(1, len(rule) if isinstance(rule, Sequence) else 1)
    return keys, combinations


def _all(
    policy: Mapping[str, Any], kind: Descriptor, path: tuple[FieldDescriptor, ...], place: str
) -> Filter:
    tests = tuple(
        _one(name, rule, kind, path, f"{place}.{name}" if place else str(name))
        for name, rule in policy.items()
    )
    return lambda event: all(test(event) for test in tests)


def _one(
    name: str, rule: Any, kind: Descriptor, path: tuple[FieldDescriptor, ...], place: str
) -> Filter:
    if name == "$or":
        return _any(rule, kind, path, place)
    if not path and name.startswith("ce-"):
        return _fits(_attribute(name, place), rule, place)
    field = kind.fields_by_name.get(name)
    if field is None:
        raise MalformedFilter(place, f"{kind.full_name} has no such field")
    here = (*path, field)
    if isinstance(rule, Mapping):
        if field.message_type is None:
            raise MalformedFilter(place, "it is no message, and takes a list of alternatives")
        if not rule:
            raise MalformedFilter(place, "it is empty")
        return _all(rule, field.message_type, here, place)
    if field.message_type is not None and not _asks_only_whether_it_exists(rule):
        raise MalformedFilter(place, "it is a message: name its fields")
    return _fits(_reader(here), rule, place)


def _attribute(name: str, place: str) -> Read:
    if name in _ATTRIBUTES:
        return _ATTRIBUTES[name]
    told = name.removeprefix("ce-")
    if not is_attribute(told):
        raise MalformedFilter(place, "no attribute can be called so")
    return lambda event: [_Text(event.attributes[told])] if told in event.attributes else []


def _any(rule: Any, kind: Descriptor, path: tuple[FieldDescriptor, ...], place: str) -> Filter:
    if not isinstance(rule, Sequence) or isinstance(rule, str) or len(rule) < 2:
        raise MalformedFilter(place, "it takes a list of two filters or more")
    branches = []
    for number, branch in enumerate(rule):
        if not isinstance(branch, Mapping) or not branch:
            raise MalformedFilter(f"{place}[{number}]", "it is not a filter")
        branches.append(_all(branch, kind, path, f"{place}[{number}]"))
    return lambda event: any(test(event) for test in branches)


def _fits(read: Read, rule: Any, place: str) -> Filter:
    if not isinstance(rule, Sequence) or isinstance(rule, str) or not rule:
        raise MalformedFilter(place, "it takes a list of alternatives")
    if rule and all(isinstance(each, Mapping) and set(each) == {"exists"} for each in rule):
        return _exists(read, rule, place)
    tests = [_alternative(each, f"{place}[{number}]") for number, each in enumerate(rule)]
    return lambda event: any(test(value) for value in read(event) for test in tests)


def _asks_only_whether_it_exists(rule: Any) -> bool:
    return isinstance(rule, Sequence) and all(
        isinstance(each, Mapping) and set(each) == {"exists"} for each in rule
    )


def _exists(read: Read, rule: Sequence[Mapping[str, Any]], place: str) -> Filter:
    wanted = {each["exists"] for each in rule}
    if any(not isinstance(each, bool) for each in wanted):
        raise MalformedFilter(place, "exists takes true or false")
    return lambda event: bool(read(event)) in wanted


def _alternative(rule: Any, place: str) -> Test:
    if isinstance(rule, _SCALARS):
        return _equals(rule)
    if not isinstance(rule, Mapping) or len(rule) != 1:
        raise MalformedFilter(place, "it is neither a value nor one operator")
    ((name, argument),) = rule.items()
    make = _OPERATORS.get(name)
    if make is None:
        raise MalformedFilter(place, f"there is no operator {name}")
    return make(argument, place)


def _equals(wanted: Any) -> Test:
    # 1 is not true, and "1" is not 1.
    kind = bool if isinstance(wanted, bool) else str if isinstance(wanted, str) else (int, float)
    is_bool = kind is bool
    return lambda value: (
        isinstance(value, kind) and isinstance(value, bool) == is_bool and bool(value == wanted)
    )


def _text(argument: Any, place: str, name: str) -> str:
    if not isinstance(argument, str) or not argument:
        raise MalformedFilter(place, f"{name} takes a text that is not empty")
    return argument


def _prefix(argument: Any, place: str) -> Test:
    text = _text(argument, place, "prefix")
    return lambda value: isinstance(value, str) and value.startswith(text)


def _suffix(argument: Any, place: str) -> Test:
    text = _text(argument, place, "suffix")
    return lambda value: isinstance(value, str) and value.endswith(text)


def _ignore_case(argument: Any, place: str) -> Test:
    text = _text(argument, place, "equals-ignore-case").casefold()
    return lambda value: isinstance(value, str) and value.casefold() == text


def _anything_but(argument: Any, place: str) -> Test:
    refused: list[Test] = []
    if isinstance(argument, Mapping):
        if len(argument) != 1 or not set(argument) <= {"prefix", "suffix", "equals-ignore-case"}:
            raise MalformedFilter(place, "anything-but takes no such operator")
        ((name, inner),) = argument.items()
        texts = [inner] if isinstance(inner, str) else inner
        if not isinstance(texts, Sequence) or not texts:
            raise MalformedFilter(place, f"{name} takes a text, or a list of them")
        refused = [_OPERATORS[name](each, place) for each in texts]
    else:
        values = [argument] if isinstance(argument, _SCALARS) else argument
        if not isinstance(values, Sequence) or not values:
            raise MalformedFilter(place, "anything-but takes a value, or a list of them")
        if not all(isinstance(each, _SCALARS) for each in values):
            raise MalformedFilter(place, "anything-but takes values, or one operator")
        refused = [_equals(each) for each in values]
    return lambda value: not any(test(value) for test in refused)


def _numeric(argument: Any, place: str) -> Test:
    if not isinstance(argument, Sequence) or isinstance(argument, str):
        raise MalformedFilter(place, 'numeric takes a list, such as [">", 0, "<=", 150]')
    pairs = list(zip(argument[::2], argument[1::2], strict=False))
    if len(argument) not in (2, 4):
        raise MalformedFilter(place, "numeric takes one comparison or two")
    for sign, bound in pairs:
        if sign not in _COMPARISONS:
            raise MalformedFilter(place, f"numeric knows no {sign}")
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            raise MalformedFilter(place, f"{bound!r} is no number")
    if len(pairs) == 2:
        (low_sign, low), (high_sign, high) = pairs
        if low_sign not in _LOWER or high_sign not in _UPPER or low >= high:
            raise MalformedFilter(place, "numeric takes a lower bound, then a higher one")
    tests = [(_COMPARISONS[sign], bound) for sign, bound in pairs]

    def fits(value: Any) -> bool:
        if isinstance(value, _Text):
            value = _number(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return all(compare(value, bound) for compare, bound in tests)

    return fits


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cidr(argument: Any, place: str) -> Test:
    try:
        network = ipaddress.ip_network(_text(argument, place, "cidr"))
    except ValueError:
        raise MalformedFilter(place, f"{argument} is no network") from None

    def fits(value: Any) -> bool:
        try:
            return ipaddress.ip_address(value) in network
        except ValueError:
            return False

    return fits


def _misplaced(argument: Any, place: str) -> Test:
    raise MalformedFilter(place, "exists stands alone")


_OPERATORS: Final[Mapping[str, Callable[[Any, str], Test]]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _ignore_case,
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
    "exists": _misplaced,
}


def _reader(path: Sequence[FieldDescriptor]) -> Read:
    def read(event: Event[Any]) -> list[Any]:
        found: list[Any] = [event.data]
        for field in path:
            found = [value for message in found for value in _values(message, field)]
        return found

    return read


def _values(message: Message, field: FieldDescriptor) -> Iterable[Any]:
    """The values of a field: none if it tracks its presence and is not there."""
    if field.is_repeated:
        return list(getattr(message, field.name))
    if field.has_presence and not message.HasField(field.name):
        return ()
    value = getattr(message, field.name)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return (known.name if known is not None else value,)
    return (value,)
