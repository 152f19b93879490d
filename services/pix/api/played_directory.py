"""Speaks `bank.pix.v1.PixDirectorySandboxService`: the other banks' customers, and the mailbox."""

from __future__ import annotations

from functools import partial

from bank.pix.v1 import sandbox_pb2 as pb
from bank.pix.v1.keys_pb2 import PixClaimKind
from bank.pix.v1.sandbox_pb2_grpc import PixDirectorySandboxServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from mesh.rpc import Context

from ..domain import keys
from ..domain.keys import Claim, ClaimKind, Reason, Side
from ..domain.payments import Key
from ..domain.rail import Holder
from ..sandbox import Sandbox
from ..store import claims as claims_store
from ..store import keys as keys_store
from .keys import claim_to_wire


class DirectorySandboxApi(PixDirectorySandboxServiceServicer):
    """What happens to keys at other banks."""

    def __init__(self, chassis: Chassis, sandbox: Sandbox) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.sandbox = sandbox

    async def SetDirectoryEntry(
        self, request: pb.SetDirectoryEntryRequest, context: Context
    ) -> pb.SetDirectoryEntryResponse:
        key = Key.parse(request.pix_key)
        if await self.read(keys_store.active, key.value):
            raise FailedPrecondition("KEY_IS_OURS", "The key is registered here.")
        document = "".join(filter(str.isalnum, request.document)).upper()
        await self.sandbox.register(key.value, Holder(document=document, name=request.name))
        return pb.SetDirectoryEntryResponse()

    async def IssueSandboxKeyCode(
        self, request: pb.IssueSandboxKeyCodeRequest, context: Context
    ) -> pb.IssueSandboxKeyCodeResponse:
        code = keys.new_code()
        hashed = keys.code_hash(request.key_id, code)
        await self.transact(keys_store.keep_code, request.key_id, hashed, now_us())
        return pb.IssueSandboxKeyCodeResponse(code=code)

    async def CreateOutsideClaim(
        self, request: pb.CreateOutsideClaimRequest, context: Context
    ) -> pb.CreateOutsideClaimResponse:
        asked = Claim(
            id=new_id(),
            key_id="",
            key=Key.parse(request.pix_key).value,
            kind=ClaimKind[PixClaimKind.Name(request.kind).removeprefix("PIX_CLAIM_KIND_")],
            claimer="",
            donor="",
            requested_by="",
            request_id=None,
            created_at_us=now_us(),
        )
        made = await self.transact(claims_store.claim_from_outside, asked)
        return pb.CreateOutsideClaimResponse(claim=claim_to_wire(made))

    async def PlayClaim(
        self, request: pb.PlayClaimRequest, context: Context
    ) -> pb.PlayClaimResponse:
        found = await self.read(claims_store.load, request.claim_id)
        moved = await self.transact(claims_store.move, found.id, self.step(request.play, found))
        return pb.PlayClaimResponse(claim=claim_to_wire(moved))

    def step(self, play: pb.ClaimPlay.ValueType, found: Claim) -> claims_store.Step:
        """Finds what a play does. Only the side that is another bank's is played."""
        if play == pb.CLAIM_PLAY_PERIOD_ENDS:
            return claims_store.after_a_period
        if play == pb.CLAIM_PLAY_CANCEL:
            side = Side.DONOR if found.claimer else Side.CLAIMER
            is_theirs = not (found.claimer and found.donor)
            turned_away = side is Side.DONOR and found.kind is ClaimKind.OWNERSHIP
            reason = Reason.FRAUD if turned_away else Reason.USER_REQUESTED
            step: claims_store.Step = partial(Claim.cancelled, side=side, reason=reason)
        elif play == pb.CLAIM_PLAY_CONFIRM:
            is_theirs, step = not found.donor, Claim.confirmed
        else:
            is_theirs, step = not found.claimer, partial(Claim.completed, now_us=now_us())
        if not is_theirs:
            raise keys.not_your_part()
        return step
