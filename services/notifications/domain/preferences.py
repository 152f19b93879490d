"""What somebody wants to be told, by which channel, in which language, and what they must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mesh.errors import InvalidArgument, Violation

from .messages import CODES, Kind, Language

DIGEST_HOUR = 18

# Whoever has taken over an account would turn these off first.
SECURITY = frozenset(
    {
        Kind.NEW_DEVICE,
        Kind.MEMBERSHIP_CHANGED,
        Kind.PIX_KEY_REGISTERED,
        Kind.PIX_KEY_REMOVED,
        Kind.PIX_KEY_CLAIMED,
        Kind.ACCOUNT_BLOCKED,
        Kind.ACCOUNT_UNBLOCKED,
    }
)

# What somebody can say something about. Codes are asked for, and summaries by what they sum up.
CHOOSABLE = tuple(kind for kind in Kind if kind not in CODES and kind is not Kind.DIGEST)


class Channels(NamedTuple):
    """By which channels one kind of message is told."""

    in_app: bool = True
    mail: bool = True
    digest: bool = False


USUAL = Channels()
BY_MAIL = Channels(in_app=False)


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What a user wants to be told. `digest_hour` is one of Brasília."""

    language: Language = Language.PORTUGUESE
    digest_hour: int = DIGEST_HOUR
    kinds: Mapping[Kind, Channels] = field(default_factory=dict)

    def channels(self, kind: Kind) -> Channels:
        """Tells how a kind of message reaches the user."""
        if kind not in CHOOSABLE:
            return BY_MAIL
        return self.kinds.get(kind, USUAL)


def chosen(kinds: list[tuple[str, Channels]]) -> dict[Kind, Channels]:
    """Checks what a user wants, by the name of the kind; gives what is not as usual.

    Raises `InvalidArgument` for what does not exist, is said twice, or cannot be turned off.
    """
    found: dict[Kind, Channels] = {}
    for number, (name, channels) in enumerate(kinds):
        place = f"preferences.kinds[{number}]"
        if name not in CHOOSABLE:
            rule = Violation(f"{place}.kind", f"must be one of {', '.join(CHOOSABLE)}")
            raise InvalidArgument("NOTIFICATION_KIND_UNKNOWN", "There is no such message.", rule)
        kind = Kind(name)
        if kind in found:
            rule = Violation(f"{place}.kind", "must be said once")
            raise InvalidArgument("NOTIFICATION_KIND_TWICE", "A message is named twice.", rule)
        if kind in SECURITY and not (channels.in_app and channels.mail):
            rule = Violation(place, "is about security, and cannot be turned off")
            raise InvalidArgument("SECURITY_MESSAGE", "Security is always told.", rule)
        found[kind] = channels
    return {kind: channels for kind, channels in found.items() if channels != USUAL}
