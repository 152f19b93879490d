"""Who is told what, and in which words. No gRPC, no NATS, no SQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from mesh.errors import InvalidArgument, NotFound, PermissionDenied, Violation
from mesh.ids import new_id
from services.money import Money

PAGE_SIZE = 50

MOST_WEBHOOKS = 20
POSTS_A_SECOND = 10
OWNER = "OWNER"

# What webhooks are told, and the field that names the account of the company that it concerns. Who
# is paid hears of the entry on their account, and not of the payer.
TOLD_OUTSIDE = {
    "accounts.AccountOpened": "account_id",
    "accounts.AccountClosed": "account_id",
    "accounts.EntryPosted": "account_id",
    "accounts.HoldPlaced": "account_id",
    "accounts.HoldReleased": "account_id",
    "transfers.TransferCreated": "payer_account_id",
    "transfers.TransferCompleted": "payer_account_id",
    "transfers.TransferFailed": "payer_account_id",
    "transfers.TransferReversed": "payer_account_id",
    "pix.PixReceived": "account_id",
    "pix.PixReceiptReturned": "account_id",
}

SYMBOLS = {"BRL": "R$", "USD": "US$", "EUR": "€"}

FAILURES = {
    "INSUFFICIENT_FUNDS": "saldo insuficiente",
    "ACCOUNT_CLOSED": "a conta está encerrada",
    "ACCOUNT_NOT_FOUND": "a conta não foi encontrada",
    "PAYEE_NOT_FOUND": "o destinatário não foi encontrado",
    "CURRENCY_MISMATCH": "a conta é de outra moeda",
}


class Kind(StrEnum):
    CONFIRMATION = "CONFIRMATION"
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - not a password
    TRANSFER_COMPLETED = "TRANSFER_COMPLETED"
    TRANSFER_FAILED = "TRANSFER_FAILED"
    PIX_RECEIVED = "PIX_RECEIVED"
    TICKET_ANSWERED = "TICKET_ANSWERED"
    NEW_DEVICE = "NEW_DEVICE"
    INVITATION = "INVITATION"


# Sent by e-mail alone: who reads the list of their messages has no use for a code.
CODES = frozenset({Kind.CONFIRMATION, Kind.PASSWORD_RESET, Kind.INVITATION})


class Status(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    UNDELIVERABLE = "undeliverable"


@dataclass(frozen=True)
class Contact:
    """Where somebody is reached, and the code that the message to them carries, if any."""

    email: str = field(repr=False)
    full_name: str = field(repr=False)
    code: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Mail:
    """An e-mail about a message."""

    id: str = field(default_factory=new_id)
    message_id: str
    kind: Kind
    to: str = field(repr=False)
    subject: str
    body: str = field(repr=False)
    code: str = field(repr=False)
    sent_at_us: int


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a user is told because of one event.

    Who is invited is no user yet: `user_id` is then the invitation's.
    """

    id: str = field(default_factory=new_id)
    event_id: str
    user_id: str
    kind: Kind
    subject: str
    body: str
    transfer_id: str = ""
    ticket_id: str = ""
    created_at_us: int
    status: Status = Status.PENDING

    @property
    def needs_code(self) -> bool:
        return self.kind in CODES

    def mail(self, contact: Contact, now_us: int) -> Mail:
        """Writes the e-mail."""
        greeting = f"Olá, {contact.full_name}." if contact.full_name else "Olá."
        lines = [greeting, self.body]
        if contact.code:
            lines.append(f"Código: {contact.code}")
        return Mail(
            message_id=self.id,
            kind=self.kind,
            to=contact.email,
            subject=self.subject,
            body="\n\n".join(lines),
            code=contact.code,
            sent_at_us=now_us,
        )

    def sent(self) -> Message:
        return replace(self, status=Status.SENT)

    def undeliverable(self) -> Message:
        return replace(self, status=Status.UNDELIVERABLE)


class Mailer(Protocol):
    """Delivers a message by e-mail. Asking twice for the same message leaves one e-mail."""

    async def deliver(self, message: Message) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """Why somebody is told something: the event, the user, and what it is about, if anything."""

    event_id: str
    user_id: str
    transfer_id: str = ""
    ticket_id: str = ""
    now_us: int

    def confirmation(self) -> Message:
        return self._message(
            Kind.CONFIRMATION,
            "Confirme seu e-mail",
            "Use o código abaixo para confirmar seu e-mail. Ele vale por poucos minutos.",
        )

    def password_reset(self) -> Message:
        return self._message(
            Kind.PASSWORD_RESET,
            "Crie uma nova senha",
            "Use o código abaixo para criar uma nova senha. Ele vale por poucos minutos."
            " Se você não pediu, ignore esta mensagem.",
        )

    def transfer_completed(self, amount: Money) -> Message:
        return self._message(
            Kind.TRANSFER_COMPLETED,
            "Transferência concluída",
            f"Sua transferência de {in_words(amount)} foi concluída.",
        )

    def transfer_failed(self, amount: Money, reason: str) -> Message:
        why = FAILURES.get(reason, "a operação não foi aceita")
        return self._message(
            Kind.TRANSFER_FAILED,
            "Transferência não realizada",
            f"Sua transferência de {in_words(amount)} não foi realizada: {why}."
            " Nenhum valor saiu da sua conta.",
        )

    def pix_received(self, amount: Money) -> Message:
        return self._message(
            Kind.PIX_RECEIVED, "Pix recebido", f"Você recebeu um Pix de {in_words(amount)}."
        )

    def ticket_answered(self) -> Message:
        return self._message(
            Kind.TICKET_ANSWERED,
            "Respondemos ao seu chamado",
            "Há uma resposta nova ao seu chamado. Abra o aplicativo para ler.",
        )

    def new_device(self) -> Message:
        return self._message(
            Kind.NEW_DEVICE,
            "Novo acesso à sua conta",
            "Sua conta foi acessada de um aparelho novo. Se não foi você, encerre a sessão no"
            " aplicativo e troque sua senha.",
        )

    def invitation(self) -> Message:
        return self._message(
            Kind.INVITATION,
            "Você foi convidado para atuar por uma empresa",
            "Entre, ou cadastre-se com este e-mail, e aceite o convite com o código abaixo.",
        )

    def _message(self, kind: Kind, subject: str, body: str) -> Message:
        return Message(
            event_id=self.event_id,
            user_id=self.user_id,
            kind=kind,
            subject=subject,
            body=body,
            transfer_id=self.transfer_id,
            ticket_id=self.ticket_id,
            created_at_us=self.now_us,
        )


def in_words(money: Money) -> str:
    """Writes an amount as people in Brazil do: `R$ 1.234,56`."""
    whole, cents = divmod(abs(money.minor_units), 100)
    sign = "-" if money.minor_units < 0 else ""
    digits = f"{whole:,}".replace(",", ".")
    return f"{sign}{SYMBOLS.get(money.currency, money.currency)} {digits},{cents:02}"


def must_be_told(names: Iterable[str]) -> None:
    """Raises `InvalidArgument` for the name of an event that no webhook is told."""
    for number, name in enumerate(names):
        if name not in TOLD_OUTSIDE:
            rule = Violation(f"event_types[{number}]", f"must be one of {', '.join(TOLD_OUTSIDE)}")
            raise InvalidArgument("EVENT_TYPE_UNKNOWN", "There is no such event.", rule)


def owned_company(roles: Mapping[str, str], asked: str) -> str:
    """Names the company that is meant; `roles` are the user's.

    Raises `NotFound`, `PermissionDenied`, or `InvalidArgument` if several could be meant.
    """
    companies = owned_companies(roles, asked)
    if len(companies) > 1:
        rule = Violation("company_id", "must be given by who has several companies")
        raise InvalidArgument("COMPANY_NOT_NAMED", "Say which company.", rule)
    return companies[0]


def owned_companies(roles: Mapping[str, str], asked: str) -> list[str]:
    """Lists the companies that are meant: the one that is asked for, or all that the user owns."""
    if not roles or (asked and asked not in roles):
        raise NotFound("COMPANY_NOT_FOUND", "There is no such company.")
    meant = [asked] if asked else list(roles)
    owned = [company for company in meant if roles[company] == OWNER]
    if not owned:
        raise not_the_owner()
    return owned


def must_own(roles: Mapping[str, str], company_id: str) -> None:
    """Raises `NotFound` if the company is none of the user's, `PermissionDenied` if not theirs."""
    if company_id not in roles:
        raise NotFound("WEBHOOK_NOT_FOUND", "There is no such webhook.")
    if roles[company_id] != OWNER:
        raise not_the_owner()


def not_the_owner() -> PermissionDenied:
    return PermissionDenied("ROLE_MAY_NOT", "Only who owns the company may do this.")
