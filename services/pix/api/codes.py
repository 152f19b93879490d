"""Speaks `bank.pix.v1.PixCodesService`, and decides nothing."""

from __future__ import annotations

from uuid import uuid4

from bank.pix.v1 import codes_pb2 as pb
from bank.pix.v1.codes_pb2_grpc import PixCodesServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire
from services.money import Money

from ..domain import codes
from ..domain.codes import BrCode, Code, CodeKind
from ..domain.keys import Directory, KeyStatus
from ..signing import Signer
from ..store import codes as store
from ..store import copies
from ..store import keys as keys_store
from .payments import PAGE_SIZE, user_id

SHOWN_KEYS = ("kty", "crv", "x", "y", "kid", "alg", "use")


class CodesApi(PixCodesServiceServicer):
    """Codes to be paid."""

    def __init__(self, chassis: Chassis, directory: Directory, signer: Signer) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.directory = directory
        self.signer = signer

    async def CreateQrCode(
        self, request: pb.CreateQrCodeRequest, context: Context
    ) -> pb.CreateQrCodeResponse:
        company = await self.read(copies.company_to_act_for, request.account_id, user_id())
        owner = await self.directory.owner_of(company, "")
        key = await self.key_of(request)
        asked = to_code(request, key, owner.name, self.signer.host).made()
        kept, is_new = await self.transact(store.add, asked)
        if not is_new:
            mark_replayed(context)
        return pb.CreateQrCodeResponse(qr_code=to_wire(kept))

    async def ListQrCodes(
        self, request: pb.ListQrCodesRequest, context: Context
    ) -> pb.ListQrCodesResponse:
        size = request.page_size or PAGE_SIZE
        query = store.Query(
            user_id=user_id(),
            account_id=request.account_id,
            before=wire.page_start(request.page_token),
            size=size + 1,
        )
        found = await self.read(store.page, query)
        page, next_page = wire.part_page(found, size)
        return pb.ListQrCodesResponse(qr_codes=map(to_wire, page), next_page_token=next_page)

    async def GetQrCode(
        self, request: pb.GetQrCodeRequest, context: Context
    ) -> pb.GetQrCodeResponse:
        found = await self.read(store.get, request.qr_code_id, user_id())
        return pb.GetQrCodeResponse(qr_code=to_wire(found))

    async def CancelQrCode(
        self, request: pb.CancelQrCodeRequest, context: Context
    ) -> pb.CancelQrCodeResponse:
        cancelled = await self.transact(store.cancel, request.qr_code_id, user_id())
        return pb.CancelQrCodeResponse(qr_code=to_wire(cancelled))

    async def DecodeQrCode(
        self, request: pb.DecodeQrCodeRequest, context: Context
    ) -> pb.DecodeQrCodeResponse:
        read = BrCode.read(request.br_code)
        if not read.location:
            amount = wire.to_wire(Money(read.minor_units, codes.BRL))
            return pb.DecodeQrCodeResponse(
                kind=pb.QR_CODE_KIND_STATIC,
                pix_key=read.key,
                merchant_name=read.name,
                merchant_city=read.city,
                amount=amount if read.minor_units else None,
                txid=read.txid,
                description=read.description,
            )
        token = codes.token_at(read.location)
        if not token:
            raise FailedPrecondition("CHARGE_ELSEWHERE", "The charge stands at another bank.")
        code = (await self.read(store.by_token, token)).as_of(now_us())
        return pb.DecodeQrCodeResponse(
            kind=pb.QR_CODE_KIND_DYNAMIC,
            pix_key=code.key,
            merchant_name=read.name,
            merchant_city=read.city,
            amount=wire.to_wire(code.amount),
            txid=code.txid,
            description=code.description,
            location=read.location,
            expires_at=wire.timestamp(code.expires_at_us),
            status=pb.QrCodeStatus.Value(f"QR_CODE_STATUS_{code.status.name}"),
        )

    async def GetChargePayload(
        self, request: pb.GetChargePayloadRequest, context: Context
    ) -> pb.GetChargePayloadResponse:
        code = (await self.read(store.by_token, request.token)).as_of(now_us())
        return pb.GetChargePayloadResponse(jws=await self.signer.sign(code))

    async def GetChargeKeys(
        self, request: pb.GetChargeKeysRequest, context: Context
    ) -> pb.GetChargeKeysResponse:
        public = await self.signer.public()
        key = pb.ChargeKey(**{name: public[name] for name in SHOWN_KEYS})
        return pb.GetChargeKeysResponse(keys=[key])

    async def key_of(self, request: pb.CreateQrCodeRequest) -> str:
        """Finds under which key the account is paid: an account's random key is its own id."""
        if not request.key_id:
            return request.account_id
        key = await self.read(keys_store.get, request.key_id, user_id())
        if key.status is not KeyStatus.ACTIVE or key.account != request.account_id:
            raise FailedPrecondition("KEY_NOT_ACTIVE", "The account is not paid under this key.")
        return key.value


def to_code(request: pb.CreateQrCodeRequest, key: str, name: str, host: str) -> Code:
    kind = CodeKind[pb.QrCodeKind.Name(request.kind).removeprefix("QR_CODE_KIND_")]
    amount = wire.from_wire(request.amount) if request.HasField("amount") else None
    codes.must_be_txid(kind, request.txid)
    codes.must_be_payable(kind, amount)
    is_dynamic, now = kind is CodeKind.DYNAMIC, now_us()
    token = uuid4().hex if is_dynamic else None
    life_us = request.expires_in_seconds * 1_000_000 or codes.USUAL_LIFE_US
    return Code(
        id=new_id(),
        account=request.account_id,
        kind=kind,
        key=key,
        name=codes.plain(name, codes.MOST_NAME) or "RECEBEDOR",
        city=codes.plain(request.city, codes.MOST_CITY).upper() or codes.USUAL_CITY,
        txid=request.txid or (uuid4().hex if is_dynamic else ""),
        amount=amount or Money(0, codes.BRL),
        description=request.description,
        token=token,
        location=f"{host}{codes.PLACE}{token}" if token else "",
        expires_at_us=now + life_us if is_dynamic else 0,
        requested_by=user_id(),
        request_id=request.request_id,
        created_at_us=now,
    )


def to_wire(code: Code) -> pb.QrCode:
    shown = code.as_of(now_us())
    is_dynamic = shown.kind is CodeKind.DYNAMIC
    return pb.QrCode(
        qr_code_id=shown.id,
        account_id=shown.account,
        kind=pb.QrCodeKind.Value(f"QR_CODE_KIND_{shown.kind.name}"),
        status=pb.QrCodeStatus.Value(f"QR_CODE_STATUS_{shown.status.name}"),
        br_code=shown.br_code,
        txid=shown.txid,
        amount=wire.to_wire(shown.amount) if shown.amount.minor_units else None,
        description=shown.description,
        location=shown.location,
        expires_at=wire.timestamp(shown.expires_at_us) if is_dynamic else None,
        end_to_end_id=shown.end_to_end_id,
        created_at=wire.timestamp(shown.created_at_us),
    )
