"""The door of limits and fees."""

from __future__ import annotations

from bank.money.v1 import money_pb2
from bank.transfers.v1 import terms_pb2 as pb
from bank.transfers.v1.terms_pb2_grpc import TermsServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import InvalidArgument
from mesh.rpc import Context
from services import wire
from services.money import Money

from ..domain.terms import CURRENCY, NO_LIMIT, Bound, Fee, FeeKind, Limit, Terms
from ..store import terms
from .intake import user_id


class TermsApi(TermsServiceServicer):
    """The door of limits and fees."""

    def __init__(self, chassis: Chassis) -> None:
        self.chassis = chassis

    async def GetLimits(
        self, request: pb.GetLimitsRequest, context: Context
    ) -> pb.GetLimitsResponse:
        company, found = await self.chassis.read(
            terms.read, user_id(), request.company_id, now_us()
        )
        return pb.GetLimitsResponse(company_id=company, limits=to_limits(found))

    async def UpdateLimits(
        self, request: pb.UpdateLimitsRequest, context: Context
    ) -> pb.UpdateLimitsResponse:
        wanted = {to_kind(each): to_most(each) for each in request.limits}
        company, found = await self.chassis.transact(
            terms.update, user_id(), request.company_id, wanted, now_us()
        )
        return pb.UpdateLimitsResponse(company_id=company, limits=to_limits(found))

    async def ListFees(self, request: pb.ListFeesRequest, context: Context) -> pb.ListFeesResponse:
        _, found = await self.chassis.read(terms.read, user_id(), request.company_id, now_us())
        return pb.ListFeesResponse(fees=[to_fee(*each) for each in found.fees.items()])

    async def SetFee(self, request: pb.SetFeeRequest, context: Context) -> pb.SetFeeResponse:
        fee = Fee(request.fee.fixed_minor_units, request.fee.basis_points)
        kind = FeeKind[pb.FeeKind.Name(request.fee.kind).removeprefix("FEE_KIND_")]
        await self.chassis.transact(terms.set_fee, request.company_id, kind, fee)
        return pb.SetFeeResponse()


def to_kind(wanted: pb.NewLimit) -> Limit:
    return Limit[pb.LimitKind.Name(wanted.kind).removeprefix("LIMIT_KIND_")]


def to_most(wanted: pb.NewLimit) -> int | None:
    if not wanted.HasField("amount"):
        return None
    if wanted.amount.currency_code != CURRENCY:
        raise InvalidArgument("CURRENCY_MISMATCH", "Limits are kept in reais.")
    return wanted.amount.minor_units


def to_limits(found: Terms) -> list[pb.Limit]:
    return [to_limit(limit, bound, found.used.get(limit)) for limit, bound in found.bounds.items()]


def to_limit(limit: Limit, bound: Bound, used: int | None) -> pb.Limit:
    is_changing = bound.next_most is not None
    return pb.Limit(
        kind=pb.LimitKind.Value(f"LIMIT_KIND_{limit.name}"),
        amount=to_money(bound.most),
        changing=is_changing,
        next_amount=to_money(bound.next_most),
        next_at=wire.timestamp(bound.next_from_us or 0) if is_changing else None,
        used=None if used is None else wire.to_wire(Money(used, CURRENCY)),
    )


def to_money(most: int | None) -> money_pb2.Money | None:
    return None if most is None or most >= NO_LIMIT else wire.to_wire(Money(most, CURRENCY))


def to_fee(kind: FeeKind, fee: Fee) -> pb.Fee:
    return pb.Fee(
        kind=pb.FeeKind.Value(f"FEE_KIND_{kind.name}"),
        fixed_minor_units=fee.fixed,
        basis_points=fee.basis_points,
    )
