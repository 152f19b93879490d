"""Codes over real gRPC: made, shown, signed, decoded, paid once."""

from __future__ import annotations

import asyncio
import json

import pytest
from joserfc import jws
from joserfc.jwk import ECKey

from bank.pix.v1 import codes_pb2 as pb
from bank.pix.v1 import pix_pb2
from bank.pix.v1.codes_pb2_grpc import PixCodesServiceStub
from bank.pix.v1.events_pb2 import PixChargePaid
from mesh.db import UnitOfWork, sql
from mesh.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from mesh.ids import new_id

from .rig import OWNER, STRANGER, Rail, brl

STATIC, DYNAMIC = pb.QR_CODE_KIND_STATIC, pb.QR_CODE_KIND_DYNAMIC


async def made(
    rail: Rail,
    account_id: str,
    kind: pb.QrCodeKind.ValueType,
    amount: int = 0,
    *,
    request_id: str = "",
    txid: str = "",
    description: str = "",
) -> pb.QrCode:
    request = pb.CreateQrCodeRequest(
        request_id=request_id or new_id(),
        account_id=account_id,
        kind=kind,
        txid=txid,
        description=description,
    )
    if amount:
        request.amount.CopyFrom(brl(amount))
    with rail.service.signed_in(OWNER):
        return (await rail.stub(PixCodesServiceStub).CreateQrCode(request)).qr_code


async def decoded(rail: Rail, code: pb.QrCode) -> pb.DecodeQrCodeResponse:
    request = pb.DecodeQrCodeRequest(br_code=code.br_code)
    with rail.service.signed_in(STRANGER):
        return await rail.stub(PixCodesServiceStub).DecodeQrCode(request)


async def pay(rail: Rail, code: pb.QrCode, amount: int = 0) -> pix_pb2.Deposit:
    request = pix_pb2.CreateDepositRequest(br_code=code.br_code)
    if amount:
        request.amount.CopyFrom(brl(amount))
    request.wait.seconds = 4
    return (await rail.outside.CreateDeposit(request)).deposit


async def shown(rail: Rail, code: pb.QrCode) -> pb.QrCode:
    request = pb.GetQrCodeRequest(qr_code_id=code.qr_code_id)
    with rail.service.signed_in(OWNER):
        return (await rail.stub(PixCodesServiceStub).GetQrCode(request)).qr_code


async def test_a_static_code_is_paid_again_and_again(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    code = await made(rail, account_id, STATIC, txid="LOJA1", description="Pão de queijo")

    read = await decoded(rail, code)
    paid = [await pay(rail, code, amount) for amount in (100, 250)]
    with pytest.raises(InvalidArgument):
        await pay(rail, code)

    assert (read.kind, read.pix_key, read.txid) == (STATIC, account_id, "LOJA1")
    assert (read.merchant_name, read.merchant_city) == ("Padaria Pao Quente Ltda", "SAO PAULO")
    assert (read.description, read.HasField("amount")) == ("Pao de queijo", False)
    assert {deposit.txid for deposit in paid} == {"LOJA1"}
    assert rail.ledger.balances[account_id] == 350
    assert (await shown(rail, code)).status == pb.QR_CODE_STATUS_ACTIVE
    assert await rail.service.told(PixChargePaid) == []


async def test_a_charge_is_paid_once_however_many_try(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    code = await made(rail, account_id, DYNAMIC, 500, description="Pedido 42")

    answers = await asyncio.gather(*(pay(rail, code) for _ in range(8)), return_exceptions=True)

    (paid,) = (answer for answer in answers if isinstance(answer, pix_pb2.Deposit))
    refused = [answer for answer in answers if isinstance(answer, FailedPrecondition)]
    assert [refusal.reason for refusal in refused] == ["BE17"] * 7
    after = await shown(rail, code)
    assert (after.status, after.end_to_end_id) == (pb.QR_CODE_STATUS_PAID, paid.end_to_end_id)
    assert (await decoded(rail, code)).status == pb.QR_CODE_STATUS_PAID
    (told,) = await rail.service.told(PixChargePaid)
    assert (told.data.txid, told.data.deposit_id) == (code.txid, paid.deposit_id)
    assert rail.ledger.balances[account_id] == 500


async def expire(work: UnitOfWork, code_id: str) -> None:
    await work.execute(sql("UPDATE qr_codes SET expires_at_us = 1 WHERE id = :id"), id=code_id)


async def test_a_charge_takes_its_amount_in_its_time_and_no_other(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    wrong = await made(rail, account_id, DYNAMIC, 500)
    over = await made(rail, account_id, DYNAMIC, 500)
    withdrawn = await made(rail, account_id, DYNAMIC, 500)
    with rail.service.signed_in(OWNER):
        request = pb.CancelQrCodeRequest(qr_code_id=withdrawn.qr_code_id)
        await rail.stub(PixCodesServiceStub).CancelQrCode(request)
    await rail.service.database.transact(expire, over.qr_code_id)

    for code, amount in ((wrong, 499), (over, 0), (withdrawn, 0)):
        with pytest.raises(FailedPrecondition) as caught:
            await pay(rail, code, amount)
        assert caught.value.reason == "BE17"
    assert (await shown(rail, over)).status == pb.QR_CODE_STATUS_EXPIRED
    assert (await shown(rail, withdrawn)).status == pb.QR_CODE_STATUS_CANCELLED


async def test_a_charge_whose_payment_fails_can_be_paid_by_another(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    code = await made(rail, account_id, DYNAMIC, 500)
    rail.ledger.closed.add(account_id)

    failed = await pay(rail, code)
    rail.ledger.closed.clear()
    paid = await pay(rail, code)

    assert failed.status == pix_pb2.PAYMENT_STATUS_REJECTED
    assert paid.status == pix_pb2.PAYMENT_STATUS_SETTLED


async def test_a_customer_of_ours_pays_a_charge_of_ours(rail: Rail) -> None:
    payee = await rail.open(OWNER)
    code = await made(rail, payee, DYNAMIC, 500)
    read = await decoded(rail, code)
    request = pix_pb2.SendPaymentRequest(
        payment_id=new_id(), pix_key=read.pix_key, amount=read.amount, txid=read.txid
    )

    await rail.sent(request)
    request.payment_id = new_id()
    with pytest.raises(FailedPrecondition):
        await rail.transfers.SendPayment(request)

    assert (await shown(rail, code)).status == pb.QR_CODE_STATUS_PAID


async def test_a_charge_is_signed_with_a_key_that_all_can_see(rail: Rail) -> None:
    account_id = await rail.open(OWNER)
    code = await made(rail, account_id, DYNAMIC, 12_345, description="Pedido 42")
    codes = rail.stub(PixCodesServiceStub)
    token = code.location.rpartition("/")[2]

    signed = (await codes.GetChargePayload(pb.GetChargePayloadRequest(token=token))).jws
    (key,) = (await codes.GetChargeKeys(pb.GetChargeKeysRequest())).keys

    public = ECKey.import_key({"kty": key.kty, "crv": key.crv, "x": key.x, "y": key.y})
    read = jws.deserialize_compact(signed, public, algorithms=["ES256"])
    charge = json.loads(read.payload)
    assert read.headers()["kid"] == key.kid
    assert charge["valor"] == {"original": "123.45"}
    assert (charge["txid"], charge["chave"], charge["status"]) == (code.txid, account_id, "ATIVA")
    assert charge["calendario"]["expiracao"] == 86_400
    assert code.br_code.count(code.location) == 1
    with pytest.raises(NotFound):
        await codes.GetChargePayload(pb.GetChargePayloadRequest(token="0" * 32))


async def test_a_code_is_asked_for_once_and_a_txid_names_one(rail: Rail) -> None:
    account_id, once = await rail.open(OWNER), new_id()
    txid = "A" * 30

    first = await made(rail, account_id, DYNAMIC, 500, request_id=once, txid=txid)
    again = await made(rail, account_id, DYNAMIC, 500, request_id=once, txid=txid)

    assert first == again
    with pytest.raises(AlreadyExists):
        await made(rail, account_id, DYNAMIC, 501, request_id=once)
    with pytest.raises(AlreadyExists):
        await made(rail, account_id, DYNAMIC, 500, txid=txid)


@pytest.mark.parametrize(
    ("kind", "amount", "txid", "description", "field"),
    [
        (DYNAMIC, 0, "", "", "amount"),
        (DYNAMIC, 500, "SHORT", "", "txid"),
        (STATIC, 0, "A" * 26, "", "txid"),
        (STATIC, 0, "", "a" * 60, "description"),
    ],
)
async def test_what_makes_no_code_is_refused(
    rail: Rail,
    kind: pb.QrCodeKind.ValueType,
    amount: int,
    txid: str,
    description: str,
    field: str,
) -> None:
    account_id = await rail.open(OWNER)
    with pytest.raises(InvalidArgument) as caught:
        await made(rail, account_id, kind, amount, txid=txid, description=description)
    assert caught.value.violations[0].field == field


async def test_codes_are_their_companys_alone(rail: Rail) -> None:
    code = await made(rail, await rail.open(OWNER), STATIC)
    codes = rail.stub(PixCodesServiceStub)
    with rail.service.signed_in(STRANGER):
        with pytest.raises(NotFound):
            await codes.GetQrCode(pb.GetQrCodeRequest(qr_code_id=code.qr_code_id))
        assert not (await codes.ListQrCodes(pb.ListQrCodesRequest())).qr_codes
    with rail.service.signed_in(OWNER):
        assert len((await codes.ListQrCodes(pb.ListQrCodesRequest())).qr_codes) == 1
