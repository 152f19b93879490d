"""The statements that SQLite takes are taken by PostgreSQL: a walk through all of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bank.pix.v1 import codes_pb2 as codes
from bank.pix.v1 import keys_pb2 as keys
from bank.pix.v1 import pix_pb2 as pix
from bank.pix.v1 import receipts_pb2 as receipts
from bank.pix.v1 import sandbox_pb2 as sandbox
from bank.pix.v1.codes_pb2_grpc import PixCodesServiceStub
from bank.pix.v1.events_pb2 import PixPaymentReturned
from bank.pix.v1.receipts_pb2_grpc import PixReceiptsServiceStub
from bank.pix.v1.sandbox_pb2_grpc import PixSandboxServiceStub
from mesh.errors import FailedPrecondition
from mesh.ids import new_id
from mesh.testing.waiting import eventually
from services.pix import checks

from .directory import PHONE, Directory
from .rig import CNPJ, EMAIL, OWNER, a_rail, brl
from .test_codes import made, pay, shown
from .test_settlement import a_day, reconciled


async def test_keys_and_claims(tmp_path: Path, postgres_url: str) -> None:
    async with a_rail(tmp_path, postgres_url) as rail:
        account_id, directory = await rail.open(OWNER), Directory(rail)
        await directory.register_elsewhere(PHONE)
        await directory.register_elsewhere(CNPJ, CNPJ)
        with rail.service.signed_in(OWNER):
            asked = await directory.ask(account_id, keys.PIX_KEY_KIND_PHONE, PHONE)
            phone = await directory.prove(asked)
            claim = await directory.claim(phone)
            await directory.play(claim, sandbox.CLAIM_PLAY_CONFIRM)
            await directory.complete(claim)
            cnpj = await directory.ask(account_id, keys.PIX_KEY_KIND_CNPJ, CNPJ)
            await directory.play(await directory.claim(cnpj), sandbox.CLAIM_PLAY_CANCEL)
            answers = await asyncio.gather(
                *(directory.ask(account_id, keys.PIX_KEY_KIND_RANDOM) for _ in range(22)),
                return_exceptions=True,
            )
            request = keys.DeletePixKeyRequest(key_id=cnpj.key_id)
            await directory.keys.DeletePixKey(request)
            listed = await directory.keys.ListPixKeys(keys.ListPixKeysRequest(page_size=100))
            claims = await directory.keys.ListPixClaims(keys.ListPixClaimsRequest())
            await directory.keys.LookupPixKey(keys.LookupPixKeyRequest(pix_key=EMAIL))

        refused = [each for each in answers if isinstance(each, Exception)]
        assert {type(each) for each in refused} <= {FailedPrecondition}
        assert (len(refused), len(listed.keys), len(claims.claims)) == (4, 19, 2)
        assert (await found(directory, phone.key_id)).status == keys.PIX_KEY_STATUS_ACTIVE


async def found(directory: Directory, key_id: str) -> keys.PixKey:
    with directory.rail.service.signed_in(OWNER):
        return (await directory.keys.GetPixKey(keys.GetPixKeyRequest(key_id=key_id))).key


async def test_payments_and_returns(tmp_path: Path, postgres_url: str) -> None:
    async with a_rail(tmp_path, postgres_url) as rail:
        account_id = await rail.open(OWNER)
        deposit = await rail.receive(account_id, 100)
        for key in ("timeout-settled@sandbox.example", "return-md06-9@sandbox.example"):
            request = pix.SendPaymentRequest(
                payment_id=new_id(), pix_key=key, amount=brl(10), payer_account_id=account_id
            )
            assert (await rail.sent(request)).status == pix.PAYMENT_STATUS_SETTLED
        stub = rail.stub(PixReceiptsServiceStub)
        given = receipts.CreateReturnRequest(request_id="once", end_to_end_id=deposit.end_to_end_id)
        given.wait.seconds = 4
        with rail.service.signed_in(OWNER):
            made = (await stub.CreateReturn(given)).pix_return
            page = await stub.ListReceipts(receipts.ListReceiptsRequest(account_id=account_id))
            given.request_id = "twice"
            with pytest.raises(FailedPrecondition):
                await stub.CreateReturn(given)
        behaviour = sandbox.SetRailBehaviourRequest(behaviour=sandbox.RailBehaviour(rejected=1))
        await rail.stub(PixSandboxServiceStub).SetRailBehaviour(behaviour)

        async def is_back() -> bool:
            return bool(await rail.service.told(PixPaymentReturned))

        await eventually(is_back)
        assert made.status == receipts.RETURN_STATUS_SETTLED
        assert page.receipts[0].returned == brl(100)


async def test_codes(tmp_path: Path, postgres_url: str) -> None:
    async with a_rail(tmp_path, postgres_url) as rail:
        account_id = await rail.open(OWNER)
        code = await made(rail, account_id, codes.QR_CODE_KIND_DYNAMIC, 500)
        other = await made(rail, account_id, codes.QR_CODE_KIND_DYNAMIC, 500)

        assert (await pay(rail, code)).status == pix.PAYMENT_STATUS_SETTLED
        assert (await shown(rail, code)).status == codes.QR_CODE_STATUS_PAID
        with rail.service.signed_in(OWNER):
            stub = rail.stub(PixCodesServiceStub)
            await stub.CancelQrCode(codes.CancelQrCodeRequest(qr_code_id=other.qr_code_id))
            page = await stub.ListQrCodes(codes.ListQrCodesRequest(account_id=account_id))
        assert [each.qr_code_id for each in page.qr_codes] == [other.qr_code_id, code.qr_code_id]
        await stub.GetChargeKeys(codes.GetChargeKeysRequest())


async def test_a_day_is_reconciled(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "GRACE_US", -1_000_000)
    async with a_rail(tmp_path, postgres_url) as rail:
        moved = await a_day(rail)

        assert await reconciled(rail) == (len(moved), {})
