"""Keys over real gRPC: registering, proving, looking up, removing."""

from __future__ import annotations

import asyncio

import pytest

from bank.pix.v1 import keys_pb2 as pb
from bank.pix.v1 import pix_pb2
from bank.pix.v1 import sandbox_pb2 as sandbox
from bank.pix.v1.events_pb2 import PixKeyProofRequested, PixKeyRegistered, PixKeyRemoved
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
)
from mesh.ids import new_id

from .directory import EMAIL_KIND, PHONE, PHONE_KIND, Directory
from .rig import CNPJ, CPF, EMAIL, OWNER, STRANGER, VIEWER, Rail, brl


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pb.PIX_KEY_KIND_CPF, "529.982.247-25"),
        (pb.PIX_KEY_KIND_CNPJ, CNPJ),
        (EMAIL_KIND, EMAIL.upper()),
        (pb.PIX_KEY_KIND_RANDOM, ""),
    ],
)
async def test_what_is_known_to_be_the_holders_own_is_registered_at_once(
    rail: Rail, directory: Directory, kind: pb.PixKeyKind.ValueType, value: str
) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, kind, value)

    assert key.status == pb.PIX_KEY_STATUS_ACTIVE
    paid = await rail.sent(
        pix_pb2.SendPaymentRequest(payment_id=new_id(), pix_key=key.pix_key, amount=brl(5))
    )
    assert paid.status == pix_pb2.PAYMENT_STATUS_SETTLED
    assert rail.ledger.balances[account_id] == 5
    (told,) = await rail.service.told(PixKeyRegistered)
    assert (told.data.key_id, told.data.kind) == (key.key_id, kind)


async def test_a_document_of_another_is_refused(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        with pytest.raises(FailedPrecondition) as caught:
            await directory.ask(account_id, pb.PIX_KEY_KIND_CPF, "11144477735")
        assert caught.value.reason == "KEY_NOT_YOURS"
        with pytest.raises(InvalidArgument):
            await directory.ask(account_id, PHONE_KIND, CPF)


async def test_a_phone_is_proven_by_the_code_that_is_sent_to_it(
    rail: Rail, directory: Directory
) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, PHONE_KIND, PHONE)
        with pytest.raises(InvalidArgument) as caught:
            await directory.keys.ConfirmPixKey(
                pb.ConfirmPixKeyRequest(key_id=key.key_id, code="000000")
            )
        proven = await directory.prove(key)
        again = await directory.keys.ConfirmPixKey(
            pb.ConfirmPixKeyRequest(key_id=key.key_id, code="000000")
        )

    assert key.status == pb.PIX_KEY_STATUS_AWAITING_PROOF
    assert caught.value.reason == "INVALID_CODE"
    assert proven.status == again.key.status == pb.PIX_KEY_STATUS_ACTIVE
    (told,) = await rail.service.told(PixKeyProofRequested)
    assert told.data.key_id == key.key_id


async def test_a_code_is_guessed_at_five_times_at_most(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, PHONE_KIND, PHONE)
        request = sandbox.IssueSandboxKeyCodeRequest(key_id=key.key_id)
        code = (await directory.outside.IssueSandboxKeyCode(request)).code
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        for guess in (wrong,) * 5 + (code,):
            with pytest.raises(InvalidArgument):
                await directory.keys.ConfirmPixKey(
                    pb.ConfirmPixKeyRequest(key_id=key.key_id, code=guess)
                )

    with rail.service.signed_in(OWNER):
        assert (await directory.get(key)).status == pb.PIX_KEY_STATUS_AWAITING_PROOF


async def test_an_account_has_twenty_keys_at_most_however_many_ask_at_once(
    rail: Rail, directory: Directory
) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        answers = await asyncio.gather(
            *(directory.ask(account_id, pb.PIX_KEY_KIND_RANDOM) for _ in range(25)),
            return_exceptions=True,
        )
        refused = [each for each in answers if isinstance(each, FailedPrecondition)]
        listed = await directory.keys.ListPixKeys(pb.ListPixKeysRequest(page_size=100))
        await directory.keys.DeletePixKey(pb.DeletePixKeyRequest(key_id=listed.keys[0].key_id))
        again = await directory.ask(account_id, pb.PIX_KEY_KIND_RANDOM)

    assert [each.reason for each in refused] == ["TOO_MANY_KEYS"] * 5
    assert len(listed.keys) == 20
    assert again.status == pb.PIX_KEY_STATUS_ACTIVE


async def test_a_key_is_one_accounts_alone_and_a_repeated_request_is_one(
    rail: Rail, directory: Directory
) -> None:
    first, second = await rail.open(OWNER), await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(first, EMAIL_KIND, EMAIL, "once")
        assert await directory.ask(first, EMAIL_KIND, EMAIL, "once") == key
        with pytest.raises(AlreadyExists):
            await directory.ask(first, PHONE_KIND, PHONE, "once")
        with pytest.raises(AlreadyExists) as caught:
            await directory.ask(first, EMAIL_KIND, EMAIL)
        other = await directory.ask(second, EMAIL_KIND, EMAIL)

    assert caught.value.reason == "KEY_EXISTS"
    assert other.status == pb.PIX_KEY_STATUS_TAKEN


async def test_a_key_is_removed_and_paid_no_more(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, EMAIL_KIND, EMAIL)
        request = pb.DeletePixKeyRequest(key_id=key.key_id)
        removed = [(await directory.keys.DeletePixKey(request)).key for _ in range(2)]
        again = await directory.ask(account_id, EMAIL_KIND, EMAIL)

    assert {each.status for each in removed} == {pb.PIX_KEY_STATUS_REMOVED}
    assert again.status == pb.PIX_KEY_STATUS_ACTIVE
    assert len(await rail.service.told(PixKeyRemoved)) == 1


async def test_keys_are_their_companys_alone(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, pb.PIX_KEY_KIND_RANDOM)
    with rail.service.signed_in(STRANGER):
        for refused in (
            directory.get(key),
            directory.ask(account_id, pb.PIX_KEY_KIND_RANDOM),
            directory.keys.DeletePixKey(pb.DeletePixKeyRequest(key_id=key.key_id)),
        ):
            with pytest.raises(NotFound):
                await refused
    with rail.service.signed_in(VIEWER):
        assert await directory.get(key) == key
        with pytest.raises(PermissionDenied):
            await directory.ask(account_id, pb.PIX_KEY_KIND_RANDOM)


async def test_a_key_is_looked_up_ours_and_others(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    await directory.register_elsewhere(PHONE)

    async def look(key: str) -> pb.PixKeyHolder:
        request = pb.LookupPixKeyRequest(pix_key=key)
        return (await directory.keys.LookupPixKey(request)).holder

    with rail.service.signed_in(OWNER):
        ours, theirs = await look(account_id), await look(PHONE)
        stranger = await look("bia@example.com")
        with pytest.raises(NotFound):
            await look("unknown-1@sandbox.example")

    assert (ours.name, ours.masked_document) == ("Padaria Pão Quente Ltda", CNPJ)
    assert (theirs.name, theirs.masked_document) == ("Bia R****", "***.444.777-**")
    assert ours.participant_ispb != theirs.participant_ispb == stranger.participant_ispb


async def test_who_scans_is_made_to_wait(rail: Rail, directory: Directory) -> None:
    with rail.service.signed_in(STRANGER):
        for number in range(5):
            request = pb.LookupPixKeyRequest(pix_key=f"unknown-{number}@sandbox.example")
            with pytest.raises(NotFound):
                await directory.keys.LookupPixKey(request)
        with pytest.raises(Overloaded) as caught:
            await directory.keys.LookupPixKey(pb.LookupPixKeyRequest(pix_key=CPF))

    assert caught.value.reason == "TOO_MANY_LOOKUPS"
    with rail.service.signed_in(OWNER):
        await directory.keys.LookupPixKey(pb.LookupPixKeyRequest(pix_key=CPF))
