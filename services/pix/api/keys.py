"""Speaks `bank.pix.v1.PixKeysService`, and decides nothing."""

from __future__ import annotations

from functools import partial

from bank.pix.v1 import keys_pb2 as pb
from bank.pix.v1.keys_pb2_grpc import PixKeysServiceServicer
from mesh.chassis import Chassis
from mesh.clock import now_us
from mesh.ids import new_id
from mesh.rpc import Context, mark_replayed
from services import wire

from ..domain import keys
from ..domain.keys import Claim, ClaimKind, Directory, KeyStatus, Owner, Reason, RegisteredKey, Side
from ..domain.payments import Accounts, Key, KeyKind
from ..domain.rail import OUR_ISPB, OUTSIDE_ISPB, Holder, Rail
from ..store import claims as claims_store
from ..store import copies
from ..store import keys as keys_store
from .payments import PAGE_SIZE, user_id

OUR_NAME, OUTSIDE_NAME = "Linker", "Banco de Fora"


class KeysApi(PixKeysServiceServicer):
    """The directory of keys, and the claims on them."""

    def __init__(
        self, chassis: Chassis, directory: Directory, rail: Rail, accounts: Accounts
    ) -> None:
        self.transact = chassis.transact
        self.read = chassis.read
        self.directory = directory
        self.rail = rail
        self.accounts = accounts

    async def CreatePixKey(
        self, request: pb.CreatePixKeyRequest, context: Context
    ) -> pb.CreatePixKeyResponse:
        kind = KeyKind[pb.PixKeyKind.Name(request.kind).removeprefix("PIX_KEY_KIND_")]
        key = to_key(kind, request.pix_key)
        owner = await self.owner_of(request.account_id)
        is_proven = owner.is_proven(key)
        elsewhere = await self.rail.taken(key.value)
        proven = KeyStatus.TAKEN if elsewhere else KeyStatus.ACTIVE
        asked = RegisteredKey(
            id=new_id(),
            account=request.account_id,
            kind=kind,
            value=key.value,
            requested_by=user_id(),
            request_id=request.request_id,
            created_at_us=now_us(),
            status=proven if is_proven else KeyStatus.AWAITING_PROOF,
            is_same_holder=owner.is_same(elsewhere),
        )
        kept, is_new = await self.transact(keys_store.add, asked, owner.most_keys)
        if not is_new:
            mark_replayed(context)
        return pb.CreatePixKeyResponse(key=key_to_wire(kept))

    async def ListPixKeys(
        self, request: pb.ListPixKeysRequest, context: Context
    ) -> pb.ListPixKeysResponse:
        size = request.page_size or PAGE_SIZE
        query = keys_store.Query(
            user_id=user_id(),
            account_id=request.account_id,
            with_removed=request.with_removed,
            before=wire.page_start(request.page_token),
            size=size + 1,
        )
        found = await self.read(keys_store.page, query)
        page, next_page = wire.part_page(found, size)
        return pb.ListPixKeysResponse(keys=map(key_to_wire, page), next_page_token=next_page)

    async def GetPixKey(
        self, request: pb.GetPixKeyRequest, context: Context
    ) -> pb.GetPixKeyResponse:
        found = await self.read(keys_store.get, request.key_id, user_id())
        return pb.GetPixKeyResponse(key=key_to_wire(found))

    async def ConfirmPixKey(
        self, request: pb.ConfirmPixKeyRequest, context: Context
    ) -> pb.ConfirmPixKeyResponse:
        key, company = await self.read(keys_store.to_act_on, request.key_id, user_id())
        if key.status is KeyStatus.AWAITING_PROOF:
            known = await self.transact(keys_store.take_try, key.id, now_us())
            keys.must_match(known, key.id, request.code)
            elsewhere = await self.rail.taken(key.value)
            owner = await self.directory.owner_of(company, user_id())
            key = await self.transact(
                keys_store.prove, key.id, elsewhere is not None, owner.is_same(elsewhere)
            )
        return pb.ConfirmPixKeyResponse(key=key_to_wire(key))

    async def DeletePixKey(
        self, request: pb.DeletePixKeyRequest, context: Context
    ) -> pb.DeletePixKeyResponse:
        removed = await self.transact(keys_store.remove, request.key_id, user_id())
        return pb.DeletePixKeyResponse(key=key_to_wire(removed))

    async def LookupPixKey(
        self, request: pb.LookupPixKeyRequest, context: Context
    ) -> pb.LookupPixKeyResponse:
        key = Key.parse(request.pix_key)
        cost = keys.FOUND_COSTS
        await self.transact(keys_store.charge, user_id(), cost, now_us(), least=cost)
        account = await self.accounts.account_of(key)
        holder = await self.holder_of(account) if account else await self.rail.find(key.value)
        if holder is None:
            await self.transact(keys_store.charge, user_id(), keys.MISSED_COSTS - cost, now_us())
            raise keys.no_such_key()
        return pb.LookupPixKeyResponse(holder=holder_to_wire(key, holder, is_ours=bool(account)))

    async def CreatePixClaim(
        self, request: pb.CreatePixClaimRequest, context: Context
    ) -> pb.CreatePixClaimResponse:
        key = await self.read(keys_store.get, request.key_id, user_id())
        elsewhere = await self.rail.taken(key.value)
        asked = Claim(
            id=new_id(),
            key_id=key.id,
            key=key.value,
            kind=ClaimKind.OWNERSHIP,
            claimer=key.account,
            donor="",
            requested_by=user_id(),
            request_id=request.request_id,
            created_at_us=now_us(),
        )
        made, is_new = await self.transact(claims_store.claim, asked, key.id, elsewhere is not None)
        if not is_new:
            mark_replayed(context)
        return pb.CreatePixClaimResponse(claim=claim_to_wire(made))

    async def ListPixClaims(
        self, request: pb.ListPixClaimsRequest, context: Context
    ) -> pb.ListPixClaimsResponse:
        size, before = request.page_size or PAGE_SIZE, wire.page_start(request.page_token)
        found = await self.read(claims_store.page, user_id(), before, size + 1)
        page, next_page = wire.part_page(found, size)
        return pb.ListPixClaimsResponse(claims=map(claim_to_wire, page), next_page_token=next_page)

    async def GetPixClaim(
        self, request: pb.GetPixClaimRequest, context: Context
    ) -> pb.GetPixClaimResponse:
        found = await self.read(claims_store.get, request.claim_id, user_id())
        return pb.GetPixClaimResponse(claim=claim_to_wire(found))

    async def ConfirmPixClaim(
        self, request: pb.ConfirmPixClaimRequest, context: Context
    ) -> pb.ConfirmPixClaimResponse:
        moved = await self.transact(
            claims_store.act, request.claim_id, user_id(), Side.DONOR, Claim.confirmed
        )
        return pb.ConfirmPixClaimResponse(claim=claim_to_wire(moved))

    async def CancelPixClaim(
        self, request: pb.CancelPixClaimRequest, context: Context
    ) -> pb.CancelPixClaimResponse:
        name = pb.PixClaimReason.Name(request.reason).removeprefix("PIX_CLAIM_REASON_")
        reason = Reason[name] if request.reason else Reason.USER_REQUESTED
        cancel = partial(Claim.cancelled, reason=reason)
        moved = await self.transact(claims_store.act, request.claim_id, user_id(), None, cancel)
        return pb.CancelPixClaimResponse(claim=claim_to_wire(moved))

    async def CompletePixClaim(
        self, request: pb.CompletePixClaimRequest, context: Context
    ) -> pb.CompletePixClaimResponse:
        complete = partial(Claim.completed, now_us=now_us())
        moved = await self.transact(
            claims_store.act, request.claim_id, user_id(), Side.CLAIMER, complete
        )
        return pb.CompletePixClaimResponse(claim=claim_to_wire(moved))

    async def IssueKeyCode(
        self, request: pb.IssueKeyCodeRequest, context: Context
    ) -> pb.IssueKeyCodeResponse:
        code = keys.new_code()
        hashed = keys.code_hash(request.key_id, code)
        key = await self.transact(keys_store.keep_code, request.key_id, hashed, now_us())
        return pb.IssueKeyCodeResponse(address=key.value, code=code)

    async def owner_of(self, account_id: str) -> Owner:
        """Tells whose an account is that the user may act for."""
        company = await self.read(copies.company_to_act_for, account_id, user_id())
        return await self.directory.owner_of(company, user_id())

    async def holder_of(self, account_id: str) -> Holder | None:
        company = await self.read(copies.company_of, account_id)
        if not company:
            return None
        owner = await self.directory.owner_of(company, "")
        return Holder(document=owner.cnpj or owner.cpf, name=owner.name)


def to_key(kind: KeyKind, written: str) -> Key:
    if kind is KeyKind.RANDOM and not written:
        return Key.new_random()
    key = Key.parse(written)
    keys.must_be_of(kind, key)
    return key


def key_to_wire(key: RegisteredKey) -> pb.PixKey:
    return pb.PixKey(
        key_id=key.id,
        account_id=key.account,
        kind=pb.PixKeyKind.Value(f"PIX_KEY_KIND_{key.kind.name}"),
        pix_key=key.value,
        status=pb.PixKeyStatus.Value(f"PIX_KEY_STATUS_{key.status.name}"),
        created_at=wire.timestamp(key.created_at_us),
    )


def holder_to_wire(key: Key, holder: Holder, *, is_ours: bool) -> pb.PixKeyHolder:
    return pb.PixKeyHolder(
        pix_key=key.value,
        kind=pb.PixKeyKind.Value(f"PIX_KEY_KIND_{key.kind.name}"),
        name=keys.masked_name(holder),
        masked_document=keys.masked_document(holder.document),
        participant_ispb=OUR_ISPB if is_ours else OUTSIDE_ISPB,
        participant_name=OUR_NAME if is_ours else OUTSIDE_NAME,
    )


def claim_to_wire(made: Claim) -> pb.PixClaim:
    return pb.PixClaim(
        claim_id=made.id,
        pix_key=made.key,
        kind=pb.PixClaimKind.Value(f"PIX_CLAIM_KIND_{made.kind.name}"),
        status=pb.PixClaimStatus.Value(f"PIX_CLAIM_STATUS_{made.status.name}"),
        claimer_account_id=made.claimer,
        donor_account_id=made.donor,
        resolution_ends_at=wire.timestamp(made.resolution_ends_us),
        completion_ends_at=wire.timestamp(made.objection_ends_us),
        confirm_reason=reason_to_wire(made.confirm_reason),
        cancel_reason=reason_to_wire(made.cancel_reason),
        created_at=wire.timestamp(made.created_at_us),
    )


def reason_to_wire(reason: Reason) -> pb.PixClaimReason.ValueType:
    name = reason.name if reason else "UNSPECIFIED"
    return pb.PixClaimReason.Value(f"PIX_CLAIM_REASON_{name}")
