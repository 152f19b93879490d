"""The rail when it does not answer: nothing is guessed."""

from __future__ import annotations

import pytest

from bank.pix.v1 import pix_pb2 as pix
from mesh.errors import (
    DeadlineExceeded,
    Error,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Refused,
    Transient,
)
from services.transfers.clients import PixRail

from .fakes import a_transfer

NO = InvalidArgument("INVALID_PIX_KEY", "This is no Pix key.")
UNKNOWN = NotFound("PAYMENT_NOT_FOUND", "There is no such payment.")
DENIED = PermissionDenied("CALLER_NOT_ALLOWED", "You may not ask.")
LATE = DeadlineExceeded("DEADLINE_EXCEEDED", "It took too long.")


class Stub:
    """Answers as it is told to: an error, or a payment of a status."""

    def __init__(self, sent: Error | None, asked: Error | pix.PaymentStatus.ValueType) -> None:
        self.sent = sent
        self.asked = asked

    async def SendPayment(self, request: pix.SendPaymentRequest) -> pix.SendPaymentResponse:
        if self.sent:
            raise self.sent
        return pix.SendPaymentResponse()

    async def GetPayment(self, request: pix.GetPaymentRequest) -> pix.GetPaymentResponse:
        if isinstance(self.asked, Error):
            raise self.asked
        payment = pix.Payment(status=self.asked, end_to_end_id="E1", rejection_code="AC03")
        return pix.GetPaymentResponse(payment=payment)


def a_rail(sent: Error | None, asked: Error | pix.PaymentStatus.ValueType) -> PixRail:
    async def note(transfer_id: str, end_to_end_id: str) -> None:
        assert end_to_end_id == "E1"

    return PixRail(Stub(sent, asked), note)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sent", "asked", "expected"),
    [
        (None, UNKNOWN, None),
        # Refused, and the rail does not have it: it never will.
        (NO, UNKNOWN, Refused),
        # Refused now, though an earlier call came through unheard: the rail has it.
        (NO, pix.PAYMENT_STATUS_SETTLED, None),
        (DENIED, pix.PAYMENT_STATUS_PENDING, None),
        # Refused, and nobody tells whether the rail has it: no answer.
        (NO, LATE, Transient),
        (LATE, UNKNOWN, Transient),
        (LATE, pix.PAYMENT_STATUS_SETTLED, Transient),
    ],
)
async def test_a_payment_is_refused_only_if_the_rail_does_not_have_it(
    sent: Error | None,
    asked: Error | pix.PaymentStatus.ValueType,
    expected: type[Error] | None,
) -> None:
    rail = a_rail(sent, asked)

    if expected is None:
        await rail.send(a_transfer(pix_key="x@example.com"))
        return
    with pytest.raises(expected):
        await rail.send(a_transfer(pix_key="x@example.com"))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (pix.PAYMENT_STATUS_SETTLED, None),
        (pix.PAYMENT_STATUS_REJECTED, FailedPrecondition),
        (pix.PAYMENT_STATUS_PENDING, Transient),
        (LATE, Transient),
        (UNKNOWN, Transient),
        (DENIED, Transient),
    ],
)
async def test_only_the_rails_own_word_settles_or_rejects(
    asked: Error | pix.PaymentStatus.ValueType, expected: type[Error] | None
) -> None:
    rail = a_rail(None, asked)

    if expected is None:
        await rail.confirm(a_transfer(pix_key="x@example.com"))
        return
    with pytest.raises(expected):
        await rail.confirm(a_transfer(pix_key="x@example.com"))
