"""The directory of keys, as a user and as the other banks meet it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bank.pix.v1 import keys_pb2 as pb
from bank.pix.v1 import sandbox_pb2 as sandbox
from bank.pix.v1.events_pb2 import PixClaimChanged
from bank.pix.v1.keys_pb2_grpc import PixKeysServiceStub
from bank.pix.v1.sandbox_pb2_grpc import PixDirectorySandboxServiceStub
from mesh.ids import new_id

from .rig import Rail

if TYPE_CHECKING:
    from bank.pix.v1.keys_pb2_grpc import PixKeysServiceAsyncStub
    from bank.pix.v1.sandbox_pb2_grpc import PixDirectorySandboxServiceAsyncStub

PHONE = "+5511987654321"
EMAIL_KIND, PHONE_KIND = pb.PIX_KEY_KIND_EMAIL, pb.PIX_KEY_KIND_PHONE


class Directory:
    """The directory, as a user and as the other banks meet it."""

    def __init__(self, rail: Rail) -> None:
        self.rail = rail
        self.keys: PixKeysServiceAsyncStub = rail.stub(PixKeysServiceStub)
        self.outside: PixDirectorySandboxServiceAsyncStub = rail.stub(
            PixDirectorySandboxServiceStub
        )

    async def ask(
        self, account_id: str, kind: pb.PixKeyKind.ValueType, value: str = "", request_id: str = ""
    ) -> pb.PixKey:
        request = pb.CreatePixKeyRequest(
            request_id=request_id or new_id(), account_id=account_id, kind=kind, pix_key=value
        )
        return (await self.keys.CreatePixKey(request)).key

    async def prove(self, key: pb.PixKey) -> pb.PixKey:
        request = sandbox.IssueSandboxKeyCodeRequest(key_id=key.key_id)
        code = (await self.outside.IssueSandboxKeyCode(request)).code
        answer = await self.keys.ConfirmPixKey(
            pb.ConfirmPixKeyRequest(key_id=key.key_id, code=code)
        )
        return answer.key

    async def get(self, key: pb.PixKey) -> pb.PixKey:
        return (await self.keys.GetPixKey(pb.GetPixKeyRequest(key_id=key.key_id))).key

    async def register_elsewhere(self, value: str, document: str = "11144477735") -> None:
        await self.outside.SetDirectoryEntry(
            sandbox.SetDirectoryEntryRequest(pix_key=value, document=document, name="Bia Ramos")
        )

    async def claim(self, key: pb.PixKey, request_id: str = "") -> pb.PixClaim:
        request = pb.CreatePixClaimRequest(key_id=key.key_id, request_id=request_id or new_id())
        return (await self.keys.CreatePixClaim(request)).claim

    async def play(self, claim: pb.PixClaim, play: sandbox.ClaimPlay.ValueType) -> pb.PixClaim:
        request = sandbox.PlayClaimRequest(claim_id=claim.claim_id, play=play)
        return (await self.outside.PlayClaim(request)).claim

    async def complete(self, claim: pb.PixClaim) -> pb.PixClaim:
        request = pb.CompletePixClaimRequest(claim_id=claim.claim_id)
        return (await self.keys.CompletePixClaim(request)).claim

    async def is_acknowledged(self, claim: pb.PixClaim) -> bool:
        told = await self.rail.service.told(PixClaimChanged)
        waiting = pb.PIX_CLAIM_STATUS_WAITING_RESOLUTION
        return any(
            event.data.status == waiting and event.data.claim_id == claim.claim_id for event in told
        )
