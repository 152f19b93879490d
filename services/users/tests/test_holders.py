"""Whose the accounts of a company are, on both kinds of database."""

from __future__ import annotations

import pytest

from mesh.db import UnitOfWork, sql
from mesh.errors import NotFound
from mesh.ids import new_id
from services.users import domain
from services.users.holders import get_holder

from .driver import CNPJ, CPF, EMAIL, Users

COMPANY = sql("SELECT id FROM companies WHERE owner_id = :owner")


async def company_of(work: UnitOfWork, user_id: str) -> str:
    row = await work.fetch_one(COMPANY, owner=user_id)
    assert row is not None
    return str(row["id"])


async def test_a_holder_is_told_with_the_address_of_a_member_alone(users: Users) -> None:
    user_id = await users.confirmed()
    company_id = await users.database.read(company_of, user_id)

    known = await users.database.read(get_holder, company_id, user_id)
    to_nobody = await users.database.read(get_holder, company_id, new_id())

    assert (known.cnpj, known.owner_cpf) == (domain.cnpj(CNPJ), domain.cpf(CPF))
    assert (known.user_email, to_nobody.user_email) == (EMAIL, "")
    with pytest.raises(NotFound):
        await users.database.read(get_holder, new_id(), user_id)
