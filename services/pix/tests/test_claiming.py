"""Claims over real gRPC, in both directions and between two accounts of ours."""

from __future__ import annotations

import pytest

from bank.pix.v1 import keys_pb2 as pb
from bank.pix.v1 import sandbox_pb2 as sandbox
from bank.pix.v1.events_pb2 import PixKeyRemoved
from mesh.errors import (
    AlreadyExists,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
)
from mesh.testing.waiting import eventually

from .directory import EMAIL_KIND, PHONE, PHONE_KIND, Directory
from .rig import CNPJ, EMAIL, OWNER, STRANGER, Rail


async def test_a_portability_brings_a_key_here(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    await directory.register_elsewhere(CNPJ, CNPJ)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, pb.PIX_KEY_KIND_CNPJ, CNPJ)
        claim = await directory.claim(key, "once")
        assert (await directory.claim(key, "once")).claim_id == claim.claim_id
        with pytest.raises(FailedPrecondition):
            await directory.complete(claim)
        await eventually(lambda: directory.is_acknowledged(claim))
        confirmed = await directory.play(claim, sandbox.CLAIM_PLAY_CONFIRM)
        completed = await directory.complete(claim)
        moved = await directory.get(key)

    assert key.status == pb.PIX_KEY_STATUS_TAKEN
    assert (claim.kind, claim.status) == (
        pb.PIX_CLAIM_KIND_PORTABILITY,
        pb.PIX_CLAIM_STATUS_OPEN,
    )
    assert claim.resolution_ends_at.seconds - claim.created_at.seconds == 7 * 86_400
    assert confirmed.status == pb.PIX_CLAIM_STATUS_CONFIRMED
    assert completed.status == pb.PIX_CLAIM_STATUS_COMPLETED
    assert moved.status == pb.PIX_KEY_STATUS_ACTIVE


async def test_a_portability_that_nobody_answers_ends(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    await directory.register_elsewhere(CNPJ, CNPJ)
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, pb.PIX_KEY_KIND_CNPJ, CNPJ)
        claim = await directory.claim(key)
        ended = await directory.play(claim, sandbox.CLAIM_PLAY_PERIOD_ENDS)
        with pytest.raises(FailedPrecondition):
            await directory.complete(claim)

    assert ended.status == pb.PIX_CLAIM_STATUS_CANCELLED
    assert ended.cancel_reason == pb.PIX_CLAIM_REASON_DEFAULT_OPERATION


async def test_ownership_that_nobody_answers_is_won_after_the_second_period(
    rail: Rail, directory: Directory
) -> None:
    account_id = await rail.open(OWNER)
    await directory.register_elsewhere(PHONE)
    with rail.service.signed_in(OWNER):
        key = await directory.prove(await directory.ask(account_id, PHONE_KIND, PHONE))
        claim = await directory.claim(key)
        confirmed = await directory.play(claim, sandbox.CLAIM_PLAY_PERIOD_ENDS)
        with pytest.raises(FailedPrecondition) as caught:
            await directory.complete(claim)
        await directory.play(claim, sandbox.CLAIM_PLAY_PERIOD_ENDS)
        completed = await directory.complete(claim)

    assert (key.status, claim.kind) == (pb.PIX_KEY_STATUS_TAKEN, pb.PIX_CLAIM_KIND_OWNERSHIP)
    assert confirmed.confirm_reason == pb.PIX_CLAIM_REASON_DEFAULT_OPERATION
    assert caught.value.reason == "CLAIM_CAN_BE_OBJECTED"
    assert completed.status == pb.PIX_CLAIM_STATUS_COMPLETED


async def test_a_key_of_ours_is_claimed_and_let_go(rail: Rail, directory: Directory) -> None:
    account_id = await rail.open(OWNER)
    ownership = pb.PIX_CLAIM_KIND_OWNERSHIP
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, EMAIL_KIND, EMAIL)
        request = sandbox.CreateOutsideClaimRequest(pix_key=EMAIL, kind=ownership)
        claim = (await directory.outside.CreateOutsideClaim(request)).claim
        with pytest.raises(FailedPrecondition) as caught:
            await directory.keys.DeletePixKey(pb.DeletePixKeyRequest(key_id=key.key_id))
        with pytest.raises(PermissionDenied):
            await directory.complete(claim)
        confirmed = await directory.keys.ConfirmPixClaim(
            pb.ConfirmPixClaimRequest(claim_id=claim.claim_id)
        )
        suspended = await directory.get(key)
        await directory.play(claim, sandbox.CLAIM_PLAY_COMPLETE)
        moved = await directory.get(key)

    assert caught.value.reason == "KEY_CLAIMED"
    assert confirmed.claim.confirm_reason == pb.PIX_CLAIM_REASON_USER_REQUESTED
    assert suspended.status == pb.PIX_KEY_STATUS_SUSPENDED
    assert moved.status == pb.PIX_KEY_STATUS_REMOVED
    (told,) = await rail.service.told(PixKeyRemoved)
    assert told.data.moved


async def test_a_key_of_ours_is_kept_by_who_objects_in_time(
    rail: Rail, directory: Directory
) -> None:
    account_id = await rail.open(OWNER)
    ownership = pb.PIX_CLAIM_KIND_OWNERSHIP
    with rail.service.signed_in(OWNER):
        key = await directory.ask(account_id, EMAIL_KIND, EMAIL)
        request = sandbox.CreateOutsideClaimRequest(pix_key=EMAIL, kind=ownership)
        claim = (await directory.outside.CreateOutsideClaim(request)).claim
        await directory.play(claim, sandbox.CLAIM_PLAY_PERIOD_ENDS)
        cancel = pb.CancelPixClaimRequest(claim_id=claim.claim_id)
        with pytest.raises(FailedPrecondition) as caught:
            await directory.keys.CancelPixClaim(cancel)
        cancel.reason = pb.PIX_CLAIM_REASON_FRAUD
        cancelled = await directory.keys.CancelPixClaim(cancel)
        kept = await directory.get(key)
        page = await directory.keys.ListPixClaims(pb.ListPixClaimsRequest())
    with rail.service.signed_in(STRANGER), pytest.raises(NotFound):
        await directory.keys.GetPixClaim(pb.GetPixClaimRequest(claim_id=claim.claim_id))

    assert caught.value.reason == "REASON_NOT_ALLOWED"
    assert cancelled.claim.status == pb.PIX_CLAIM_STATUS_CANCELLED
    assert kept.status == pb.PIX_KEY_STATUS_ACTIVE
    assert [each.claim_id for each in page.claims] == [claim.claim_id]


async def test_a_claim_between_two_accounts_of_ours_moves_the_key(
    rail: Rail, directory: Directory
) -> None:
    donor, claimer = await rail.open(OWNER), await rail.open(STRANGER)
    with rail.service.signed_in(OWNER):
        theirs = await directory.ask(donor, EMAIL_KIND, EMAIL)
    with rail.service.signed_in(STRANGER):
        mine = await directory.prove(await directory.ask(claimer, EMAIL_KIND, EMAIL))
        claim = await directory.claim(mine)
        with pytest.raises(PermissionDenied):
            await directory.keys.ConfirmPixClaim(pb.ConfirmPixClaimRequest(claim_id=claim.claim_id))
    with rail.service.signed_in(OWNER):
        await directory.keys.ConfirmPixClaim(pb.ConfirmPixClaimRequest(claim_id=claim.claim_id))
    with rail.service.signed_in(STRANGER):
        await directory.complete(claim)
        assert (await directory.get(mine)).status == pb.PIX_KEY_STATUS_ACTIVE
    with rail.service.signed_in(OWNER):
        assert (await directory.get(theirs)).status == pb.PIX_KEY_STATUS_REMOVED


async def test_only_a_key_that_is_taken_is_claimed_and_once(
    rail: Rail, directory: Directory
) -> None:
    account_id = await rail.open(OWNER)
    await directory.register_elsewhere(CNPJ, CNPJ)
    with rail.service.signed_in(OWNER):
        free = await directory.ask(account_id, EMAIL_KIND, EMAIL)
        taken = await directory.ask(account_id, pb.PIX_KEY_KIND_CNPJ, CNPJ)
        with pytest.raises(FailedPrecondition):
            await directory.claim(free)
        await directory.claim(taken)
        with pytest.raises(AlreadyExists):
            await directory.claim(taken)
