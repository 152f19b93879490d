"""Speaks `bank.pix.v1.PixSandboxService`: by it the rail and the other banks are played."""

from __future__ import annotations

from datetime import date

from bank.pix.v1 import sandbox_pb2 as pb
from bank.pix.v1.sandbox_pb2_grpc import PixSandboxServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import InvalidArgument, Violation
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire

from ..domain.rail import settlement_file
from ..domain.returns import Asked
from ..sandbox import Behaviour, Sandbox
from ..store import returns as returns_store
from .receipts import reason_of


class SandboxApi(PixSandboxServiceServicer):
    """The other banks, and the rail's mood."""

    def __init__(self, chassis: Chassis, sandbox: Sandbox) -> None:
        self.chassis = chassis
        self.sandbox = sandbox

    async def SetRailBehaviour(
        self, request: pb.SetRailBehaviourRequest, context: Context
    ) -> pb.SetRailBehaviourResponse:
        asked, usual = request.behaviour, Behaviour()
        await self.sandbox.behave(
            Behaviour(
                rejected=asked.rejected,
                lost_settled=asked.lost_settled,
                lost_rejected=asked.lost_rejected,
                lost_message=asked.lost_message,
                rejection_code=asked.rejection_code or usual.rejection_code,
                delay_ms=asked.delay_ms or usual.delay_ms,
            )
        )
        return pb.SetRailBehaviourResponse(behaviour=to_wire(await self.sandbox.behaviour()))

    async def GetRailBehaviour(
        self, request: pb.GetRailBehaviourRequest, context: Context
    ) -> pb.GetRailBehaviourResponse:
        return pb.GetRailBehaviourResponse(behaviour=to_wire(await self.sandbox.behaviour()))

    async def CreateOutsideReturn(
        self, request: pb.CreateOutsideReturnRequest, context: Context
    ) -> pb.CreateOutsideReturnResponse:
        asked = Asked(
            id=new_id(),
            requested_by="",
            request_id=request.request_id or None,
            amount=wire.from_wire(request.amount) if request.HasField("amount") else None,
            reason=reason_of(request.reason),
            now_us=now_us(),
        )
        given, is_new = await self.chassis.transact(
            returns_store.keep_in, request.payment_id, asked
        )
        if not is_new:
            mark_replayed(context)
        return pb.CreateOutsideReturnResponse(
            return_id=given.id, return_end_to_end_id=given.return_end_to_end_id
        )

    async def GetSettlementFile(
        self, request: pb.GetSettlementFileRequest, context: Context
    ) -> pb.GetSettlementFileResponse:
        lines = await self.sandbox.settled_on(to_day(request.day))
        return pb.GetSettlementFileResponse(csv=settlement_file(lines))


def to_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        rule = Violation("day", "must be a day of the calendar")
        raise InvalidArgument("NO_SUCH_DAY", "There is no such day.", rule) from None


def to_wire(behaviour: Behaviour) -> pb.RailBehaviour:
    return pb.RailBehaviour(
        rejected=behaviour.rejected,
        lost_settled=behaviour.lost_settled,
        lost_rejected=behaviour.lost_rejected,
        lost_message=behaviour.lost_message,
        rejection_code=behaviour.rejection_code,
        delay_ms=behaviour.delay_ms,
    )
