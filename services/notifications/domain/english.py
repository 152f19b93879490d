"""The texts in English, as `portuguese` has them."""

from __future__ import annotations

WORDS = {
    "greeting": "Hello.",
    "greeting by name": "Hello, {name}.",
    "code": "Code: {code}",
}

FAILURES = {
    "": "the operation was not accepted",
    "INSUFFICIENT_FUNDS": "insufficient funds",
    "ACCOUNT_CLOSED": "the account is closed",
    "ACCOUNT_BLOCKED": "the account is blocked",
    "ACCOUNT_NOT_FOUND": "the account was not found",
    "PAYEE_NOT_FOUND": "the payee was not found",
    "CURRENCY_MISMATCH": "the account has another currency",
    "LIMIT_EXCEEDED": "the amount is above the limit",
}

TEXTS = {
    "CONFIRMATION": (
        "Confirm your e-mail address",
        "Use the code below to confirm your e-mail address. It is good for a few minutes.",
    ),
    "PASSWORD_RESET": (
        "Choose a new password",
        "Use the code below to choose a new password. It is good for a few minutes."
        " If you did not ask for it, ignore this message.",
    ),
    "INVITATION": (
        "You are invited to act for a company",
        "Sign in, or sign up with this e-mail address, and accept with the code below.",
    ),
    "NEW_DEVICE": (
        "New sign-in to your account",
        "Somebody has signed in to your account from a new device. If it was not you, end the"
        " session in the app and change your password.",
    ),
    "MEMBERSHIP_CHANGED": (
        "Your access to a company has changed",
        "What you may do for a company has changed. Open the app to see.",
    ),
    "TRANSFER_COMPLETED": ("Transfer completed", "Your transfer of {amount} was completed."),
    "TRANSFER_FAILED": (
        "Transfer not made",
        "Your transfer of {amount} was not made: {why}. No money has left your account.",
    ),
    "SCHEDULED_TRANSFER_FAILED": (
        "Scheduled transfer not made",
        "Your transfer of {amount}, scheduled for {when}, was not made: {why}."
        " No money has left your account.",
    ),
    "TRANSFER_CANCELLED": (
        "Transfer cancelled",
        "A transfer that you asked for was cancelled. No money has left your account.",
    ),
    "TRANSFER_RETURNED": (
        "Money returned",
        "Of a transfer that you made, {amount} has come back to your account by now.",
    ),
    "APPROVAL_NEEDED": (
        "A transfer waits for your approval",
        "A transfer of {amount} waits for your approval until {when}.",
    ),
    "TRANSFER_APPROVED": ("Transfer approved", "A transfer that you asked for was approved."),
    "TRANSFER_REJECTED": (
        "Transfer rejected",
        "A transfer that you asked for was not approved. No money has left your account.",
    ),
    "APPROVAL_EXPIRED": (
        "Transfer not approved in time",
        "A transfer that you asked for was not approved in time, and was cancelled.",
    ),
    "PIX_RECEIVED": ("Pix received", "You have received a Pix of {amount}."),
    "PIX_RETURNED": (
        "Pix returned",
        "A Pix that you had received was returned: {amount} has left your account.",
    ),
    "PIX_RETURN_FAILED": (
        "Return not made",
        "The return of {amount} was not made: {why}. The money is still in your account.",
    ),
    "PIX_KEY_REGISTERED": (
        "Pix key registered",
        "Your account can be paid by a new Pix key. If it was not you, write to us.",
    ),
    "PIX_KEY_REMOVED": (
        "Pix key removed",
        "A Pix key does not pay your account any more. If it was not you, write to us.",
    ),
    "PIX_KEY_CLAIMED": (
        "A Pix key is claimed",
        "Somebody claims a Pix key of your account. Open the app to answer.",
    ),
    "ACCOUNT_BLOCKED": ("Account blocked", "Your account was blocked. Write to us to learn why."),
    "ACCOUNT_UNBLOCKED": ("Account unblocked", "A block of your account has ended."),
    "ACCOUNT_CLOSED": ("Account closed", "Your account was closed."),
    "TICKET_ANSWERED": (
        "We have answered your ticket",
        "There is a new answer to your ticket. Open the app to read it.",
    ),
    "DIGEST": ("Summary of the day", "Messages since the last summary: {count}."),
}
