"""What programs outside are told, and by whom that is said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mesh.errors import InvalidArgument, NotFound, PermissionDenied, Violation

MOST_WEBHOOKS = 20
POSTS_A_SECOND = 10
OWNER = "OWNER"
APPROVERS = frozenset({OWNER, "APPROVER"})

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
