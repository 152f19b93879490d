"""Whose the accounts of a company are, on both kinds of database."""

from __future__ import annotations

import pytest

from bank.users.v1 import holders_pb2 as pb
from mesh.errors import NotFound
from mesh.ids import new_id
from services.users import domain

from .driver import CNPJ, CONTEXT, CPF, EMAIL, Users


async def holder(users: Users, company_id: str, user_id: str) -> pb.GetHolderResponse:
    request = pb.GetHolderRequest(company_id=company_id, user_id=user_id)
    return await users.holders.GetHolder(request, CONTEXT)


async def test_a_holder_is_told_with_the_address_of_a_member_alone(users: Users) -> None:
    user_id = await users.confirmed()
    company_id = await users.company((await users.sign_in()).access_token)

    known = await holder(users, company_id, user_id)
    to_nobody = await holder(users, company_id, new_id())

    assert (known.cnpj, known.owner_cpf) == (domain.cnpj(CNPJ), domain.cpf(CPF))
    assert (known.user_email, to_nobody.user_email) == (EMAIL, "")
    with pytest.raises(NotFound):
        await holder(users, new_id(), user_id)
