"""Speaks `bank.pix.v1.PixSettlementService`, and decides nothing."""

from __future__ import annotations

from bank.pix.v1 import settlement_pb2 as pb
from bank.pix.v1.settlement_pb2_grpc import PixSettlementServiceServicer
from mesh.rpc import Context

from ..checks import Settlements
from .played_rail import to_day


class SettlementApi(PixSettlementServiceServicer):
    """The rail's word against ours."""

    def __init__(self, settlements: Settlements) -> None:
        self.settlements = settlements

    async def ReconcileDay(
        self, request: pb.ReconcileDayRequest, context: Context
    ) -> pb.ReconcileDayResponse:
        matched, differences = await self.settlements.reconcile(to_day(request.day))
        return pb.ReconcileDayResponse(
            day=request.day,
            matched=matched,
            differences=[
                pb.Difference(
                    end_to_end_id=each.end_to_end_id,
                    kind=each.kind,
                    rail_minor_units=each.rail or 0,
                    kept_minor_units=each.kept or 0,
                    ledger_minor_units=each.ledger or 0,
                )
                for each in differences
            ],
        )
