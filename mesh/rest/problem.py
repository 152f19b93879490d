"""Errors as `application/problem+json` (RFC 9457), each with its reason and its trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from mesh import errors

__all__ = ["MEDIA_TYPE", "Problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.Error], HTTPStatus] = {
    errors.InvalidArgument: HTTPStatus.BAD_REQUEST,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.PermissionDenied: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.AlreadyExists: HTTPStatus.CONFLICT,
    errors.FailedPrecondition: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Refused: HTTPStatus.BAD_REQUEST,
    errors.Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Behind: HTTPStatus.ACCEPTED,
    errors.DeadlineExceeded: HTTPStatus.GATEWAY_TIMEOUT,
    errors.Transient: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Problem(Exception):
    """An answer that is an error: a status, a stable reason, and a sentence."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        violations: tuple[errors.Violation, ...] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.reason = reason
        self.detail = detail
        self.violations = violations
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def body(self, trace_id: str) -> bytes:
        """Writes the problem's members."""
        members: dict[str, Any] = {
            "type": f"urn:problem:{self.reason.lower().replace('_', '-')}",
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "reason": self.reason,
            "violations": [
                {"field": _json_path(violation.field), "description": violation.description}
                for violation in self.violations
            ],
            "traceId": trace_id,
            **self.more,
        }
        return orjson.dumps(members)


def _json_path(path: str) -> str:
    """Names a field as it is named in JSON: services name it as the contract does."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), path)


def problem_of(error: Exception, *, repeatable: bool = False) -> Problem:
    """Makes the problem of an error; a bug tells nothing of itself.

    `repeatable` says that the request carried an idempotency key: that its id is taken then means
    that the key was used for another request (draft-ietf-httpapi-idempotency-key-header: 422).
    """
    if isinstance(error, Problem):
        return error
    if not isinstance(error, errors.Error):
        return Problem(500, "INTERNAL", "Something went wrong on our side.")
    if repeatable and error.reason == "REQUEST_ID_TAKEN":
        detail = "This idempotency key was used for another request."
        return Problem(422, "IDEMPOTENCY_KEY_REUSED", detail)
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {}
    if isinstance(error, errors.Overloaded | errors.Behind):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    elif isinstance(error, errors.Transient):
        headers["Retry-After"] = "1"
    elif isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    more: dict[str, Any] = {}
    if error.metadata:
        more["metadata"] = error.metadata
    if isinstance(error, errors.StepUpRequired):
        max_age = round(error.max_age_s)
        # RFC 9470: what the client must do about it.
        challenge = f'Bearer error="insufficient_user_authentication", max_age="{max_age}"'
        headers["WWW-Authenticate"] = challenge
        more["stepUp"] = {"maxAge": max_age}
    violations = error.violations if isinstance(error, errors.InvalidArgument) else ()
    return Problem(
        status, error.reason, error.message, violations=violations, headers=headers, more=more
    )
