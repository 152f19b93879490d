"""How a message is written: in the words of a language, with money and dates as it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from mesh.clock import from_us
from services.money import Money

from . import english, portuguese
from .messages import Contact, Kind, Language, Mail, Message

BRAZIL = ZoneInfo("America/Sao_Paulo")
SYMBOLS = {"BRL": "R$", "USD": "US$", "EUR": "€"}

TEXTS: Mapping[Language, Mapping[str, tuple[str, str]]] = {
    Language.PORTUGUESE: portuguese.TEXTS,
    Language.ENGLISH: english.TEXTS,
}
WORDS: Mapping[Language, Mapping[str, str]] = {
    Language.PORTUGUESE: portuguese.WORDS,
    Language.ENGLISH: english.WORDS,
}
FAILURES: Mapping[Language, Mapping[str, str]] = {
    Language.PORTUGUESE: portuguese.FAILURES,
    Language.ENGLISH: english.FAILURES,
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a text tells: an amount, why something failed, a moment, how many."""

    amount: Money | None = None
    reason: str = ""
    at_us: int | None = None
    count: int = 0


def write(kind: Kind, language: Language, facts: Facts) -> tuple[str, str]:
    """Writes a message: its subject, and its text."""
    subject, body = TEXTS[language][kind]
    failures = FAILURES[language]
    told = {
        "amount": in_words(facts.amount, language) if facts.amount else "",
        "why": failures.get(facts.reason, failures[""]),
        "when": when(facts.at_us, language) if facts.at_us is not None else "",
        "count": facts.count,
    }
    return subject.format_map(told), body.format_map(told)


def mail(message: Message, contact: Contact, now_us: int) -> Mail:
    """Writes the e-mail about a message."""
    words = WORDS[message.language]
    named = words["greeting by name"].format(name=contact.full_name)
    lines = [named if contact.full_name else words["greeting"], message.body]
    if contact.code:
        lines.append(words["code"].format(code=contact.code))
    return Mail(
        message_id=message.id,
        kind=message.kind,
        to=contact.email,
        subject=message.subject,
        body="\n\n".join(lines),
        code=contact.code,
        sent_at_us=now_us,
        language=message.language,
    )


def in_words(money: Money, language: Language) -> str:
    """Writes an amount as a language does: `R$ 1.234,56`, `R$1,234.56`."""
    whole, cents = divmod(abs(money.minor_units), 100)
    sign = "-" if money.minor_units < 0 else ""
    symbol = SYMBOLS.get(money.currency)
    digits = f"{whole:,}.{cents:02}"
    if language is Language.ENGLISH:
        return f"{sign}{symbol}{digits}" if symbol else f"{sign}{money.currency} {digits}"
    digits = digits.translate(str.maketrans(",.", ".,"))
    return f"{sign}{symbol or money.currency} {digits}"


def when(moment_us: int, language: Language) -> str:
    """Writes a moment as a language does, in the time of Brasília."""
    at = from_us(moment_us).astimezone(BRAZIL)
    if language is Language.ENGLISH:
        return f"{MONTHS[at.month - 1]} {at.day}, {at.year}, at {at:%H:%M} (Brasília time)"
    return f"{at:%d/%m/%Y} às {at:%H:%M}"
