from __future__ import annotations

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration

from bank.users.v1 import staff_pb2
from mesh.auth.keys import REFRESH_S, TokenKeys
from mesh.auth.tokens import TokenVerifier
from mesh.errors import FailedPrecondition
from services.users import domain, keys
from services.users.api import staff

from .driver import CONTEXT, Clock, Users


async def rotate(users: Users) -> str:
    return (await users.staff.RotateTokenKey(staff_pb2.RotateTokenKeyRequest(), CONTEXT)).kid


async def test_a_new_key_is_published_before_it_signs_and_an_old_one_after(
    users: Users, clock: Clock
) -> None:
    await users.confirmed()
    (old,) = await users.token_keys()

    new = await rotate(users)

    assert [key.kid for key in await users.token_keys()] == [old.kid, new]
    clock.go_on(staff.LEAD_US)
    assert [key.kid for key in await users.token_keys()] == [new, old.kid]
    clock.go_on(keys.KEPT_US)
    assert [key.kid for key in await users.token_keys()] == [new]


async def test_no_token_is_refused_while_keys_follow_one_another(
    users: Users, clock: Clock
) -> None:
    await users.confirmed()

    def seconds() -> float:
        return clock.us / domain.SECOND_US

    # Verifiers that asked for the keys at different times.
    verifiers = []
    for _ in range(4):
        verifier = TokenVerifier(TokenKeys(users.token_keys, clock=seconds), clock=seconds)
        await verifier.verify_access((await users.sign_in()).access_token)
        verifiers.append(verifier)
        clock.go_on(7 * domain.SECOND_US)
    names = set()
    session = await users.refresh((await users.sign_in()).refresh_token)
    await rotate(users)
    for _ in range(60):
        clock.go_on(2 * domain.SECOND_US)
        session_now = await users.refresh(session.refresh_token)
        for verifier in verifiers:
            await verifier.verify_access(session.access_token)
            await verifier.verify_access(session_now.access_token)
        session = session_now
        names.add(session.access_token.partition(".")[0])

    assert len(names) == 2


def test_a_key_is_known_everywhere_before_it_signs() -> None:
    assert staff.LEAD_US >= 2 * REFRESH_S * domain.SECOND_US


async def test_of_many_rotations_at_once_each_gives_a_key_that_is_published(users: Users) -> None:
    await users.token_keys()

    names = await asyncio.gather(*(rotate(users) for _ in range(4)))

    assert set(names) <= {key.kid for key in await users.token_keys()}
    assert len(await users.token_keys()) == 1 + len(set(names))


async def test_whoever_asks_for_haste_does_not_outrun_who_has_just_asked_for_keys(
    users: Users, clock: Clock
) -> None:
    await users.confirmed()

    def seconds() -> float:
        return clock.us / domain.SECOND_US

    verifier = TokenVerifier(TokenKeys(users.token_keys, clock=seconds), clock=seconds)
    for _ in range(3):
        session = await users.sign_in()
        await verifier.verify_access(session.access_token)
        await users.staff.RotateTokenKey(staff_pb2.RotateTokenKeyRequest(lead=Duration()), CONTEXT)
        for _ in range(8):
            await verifier.verify_access((await users.sign_in()).access_token)
            clock.go_on(domain.SECOND_US)


async def test_keys_are_not_rotated_without_end(users: Users) -> None:
    for _ in range(keys.MAX_KEYS - 1):
        await rotate(users)

    with pytest.raises(FailedPrecondition):
        await rotate(users)
