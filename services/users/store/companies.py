"""Where companies, their members and invitations are kept, and told of."""

from __future__ import annotations

from google.protobuf.message import Message

from bank.users.v1 import events_pb2 as events
from bank.users.v1.users_pb2 import ROLE_UNSPECIFIED
from bank.users.v1.users_pb2 import Role as WireRole
from mesh.db import Row, UnitOfWork, sql
from mesh.errors import NotFound

from .. import domain
from ..domain import Company, Invitation, Role

ADD_COMPANY = sql(
    "INSERT INTO companies (id, owner_id, legal_name, cnpj, version)"
    " VALUES (:id, :owner, :legal_name, :cnpj, 0)"
)
OPEN_COMPANIES = sql(
    "UPDATE companies SET opened_at_us = :now WHERE owner_id = :owner AND opened_at_us IS NULL"
    " RETURNING id"
)
# It locks the row too: of two who change the members of a company, one waits for the other.
NEXT_VERSION = sql("UPDATE companies SET version = version + 1 WHERE id = :id RETURNING version")
LOCK = sql("SELECT id FROM companies WHERE id = :id FOR UPDATE")
COMPANY = sql("SELECT * FROM companies WHERE id = :id")
COMPANIES = sql(
    "SELECT companies.id, legal_name, cnpj, role FROM companies JOIN memberships"
    " ON memberships.company_id = companies.id WHERE memberships.user_id = :user ORDER BY id"
)
SET_MEMBER = sql(
    "INSERT INTO memberships (user_id, company_id, role) VALUES (:user, :company, :role)"
    " ON CONFLICT (user_id, company_id) DO UPDATE SET role = excluded.role"
)
REMOVE_MEMBER = sql("DELETE FROM memberships WHERE user_id = :user AND company_id = :company")
MEMBERS = sql("SELECT user_id, role FROM memberships WHERE company_id = :company ORDER BY user_id")
ROLE = sql("SELECT role FROM memberships WHERE user_id = :user AND company_id = :company")
OTHER_OWNERS = sql(
    "SELECT COUNT(*) AS n FROM memberships"
    " WHERE company_id = :company AND role = 'owner' AND user_id <> :user"
)
ADD_INVITATION = sql(
    "INSERT INTO invitations (id, company_id, email, email_key, role, code_digest, expires_at_us)"
    " VALUES (:id, :company, :email, :email_key, :role, '', :expires_at)"
)
INVITATIONS = sql(
    "SELECT * FROM invitations WHERE company_id = :company AND expires_at_us > :now ORDER BY id"
)
INVITATION = sql("SELECT * FROM invitations WHERE id = :id AND expires_at_us > :now")
INVITATION_OF_CODE = sql(
    "SELECT * FROM invitations WHERE code_digest = :digest AND code_digest <> ''"
    " AND email_key = :email_key AND expires_at_us > :now"
)
SET_CODE = sql("UPDATE invitations SET code_digest = :digest WHERE id = :id")
REMOVE_INVITATION = sql("DELETE FROM invitations WHERE id = :id AND company_id = :company")
FORGET_INVITATIONS = sql("DELETE FROM invitations WHERE expires_at_us <= :now")
FORGET_INVITED = sql("DELETE FROM invitations WHERE email_key = :email_key")


async def add(work: UnitOfWork, company: Company, owner_id: str) -> None:
    await work.execute(
        ADD_COMPANY,
        id=company.id,
        owner=owner_id,
        legal_name=company.legal_name,
        cnpj=company.cnpj,
    )


async def open_all(work: UnitOfWork, owner_id: str, now_us: int) -> None:
    """Opens the companies that a user has signed up."""
    for row in await work.fetch_all(OPEN_COMPANIES, owner=owner_id, now=now_us):
        company_id = row["id"]
        opened = events.CompanyOpened(company_id=company_id, owner_id=owner_id)
        await tell(work, company_id, opened)
        await set_member(work, company_id, owner_id, Role.OWNER)


async def tell(work: UnitOfWork, company_id: str, event: Message) -> None:
    """Publishes an event with the company's next version."""
    row = await work.fetch_one(NEXT_VERSION, id=company_id)
    if row is None:
        raise domain.no_company()
    work.publish(event, version=row["version"])


async def set_member(work: UnitOfWork, company_id: str, user_id: str, role: Role) -> None:
    await work.execute(SET_MEMBER, user=user_id, company=company_id, role=role.value)
    wire = WireRole.Value(f"ROLE_{role.name}")
    changed = events.MembershipChanged(company_id=company_id, user_id=user_id, role=wire)
    await tell(work, company_id, changed)


async def get_opened(work: UnitOfWork, company_id: str) -> tuple[Company, str]:
    """Gets a company, and who has opened it."""
    row = await work.fetch_one(COMPANY, id=company_id)
    if row is None or row["opened_at_us"] is None:
        raise domain.no_company()
    return to_company(row), row["owner_id"]


async def of_user(work: UnitOfWork, user_id: str) -> list[tuple[Company, Role]]:
    rows = await work.fetch_all(COMPANIES, user=user_id)
    return [(to_company(row), Role(row["role"])) for row in rows]


async def role_of(work: UnitOfWork, company_id: str, user_id: str) -> Role:
    """Tells what a user may do for a company. To who is no member there is no such company."""
    row = await work.fetch_one(ROLE, user=user_id, company=company_id)
    if row is None:
        raise domain.no_company()
    return Role(row["role"])


async def members(work: UnitOfWork, company_id: str) -> list[tuple[str, Role]]:
    rows = await work.fetch_all(MEMBERS, company=company_id)
    return [(row["user_id"], Role(row["role"])) for row in rows]


async def change_member(work: UnitOfWork, company_id: str, user_id: str, role: Role) -> None:
    """Changes what a member may do. Raises when it leaves the company without an owner."""
    await lock(work, company_id)
    known = await work.fetch_one(ROLE, user=user_id, company=company_id)
    if known is None:
        raise NotFound("MEMBER_NOT_FOUND", "There is no such member.")
    if known["role"] == role.value:
        return
    if role is not Role.OWNER:
        await must_have_another_owner(work, company_id, user_id)
    await set_member(work, company_id, user_id, role)


async def remove_member(work: UnitOfWork, company_id: str, user_id: str) -> None:
    """Removes a member; repeating it changes nothing."""
    await lock(work, company_id)
    if await work.fetch_one(ROLE, user=user_id, company=company_id) is None:
        return
    await must_have_another_owner(work, company_id, user_id)
    await drop_member(work, company_id, user_id)


async def drop_member(work: UnitOfWork, company_id: str, user_id: str) -> None:
    await work.execute(REMOVE_MEMBER, user=user_id, company=company_id)
    changed = events.MembershipChanged(
        company_id=company_id, user_id=user_id, role=ROLE_UNSPECIFIED
    )
    await tell(work, company_id, changed)


async def leave_all(work: UnitOfWork, user_id: str) -> None:
    """Takes an erased user out of every company. One that only they act for is left to nobody."""
    for company, _ in await of_user(work, user_id):
        await lock(work, company.id)
        if len(await members(work, company.id)) > 1:
            await must_have_another_owner(work, company.id, user_id)
        await drop_member(work, company.id, user_id)


async def must_have_another_owner(work: UnitOfWork, company_id: str, user_id: str) -> None:
    row = await work.fetch_one(OTHER_OWNERS, company=company_id, user=user_id)
    if row is None or not row["n"]:
        known = await work.fetch_one(ROLE, user=user_id, company=company_id)
        if known is not None and known["role"] == Role.OWNER.value:
            raise domain.last_owner()


async def lock(work: UnitOfWork, company_id: str) -> None:
    """Lets nobody else change the company's members until this unit of work has ended."""
    if await work.fetch_one(LOCK, id=company_id) is None:
        raise domain.no_company()


async def invite(work: UnitOfWork, invitation: Invitation, now_us: int) -> None:
    """Keeps an invitation, whose address is sealed, and has it sent."""
    await lock(work, invitation.company_id)
    await work.execute(FORGET_INVITATIONS, now=now_us)
    waiting = await work.fetch_all(INVITATIONS, company=invitation.company_id, now=now_us)
    if len(waiting) >= domain.MOST_INVITATIONS:
        raise domain.too_many_invitations()
    await work.execute(
        ADD_INVITATION,
        id=invitation.id,
        company=invitation.company_id,
        email=invitation.email,
        email_key=invitation.email_key,
        role=invitation.role.value,
        expires_at=invitation.expires_at_us,
    )
    event = events.InvitationCreated(company_id=invitation.company_id, invitation_id=invitation.id)
    await tell(work, invitation.company_id, event)


async def invitations(work: UnitOfWork, company_id: str, now_us: int) -> list[Invitation]:
    rows = await work.fetch_all(INVITATIONS, company=company_id, now=now_us)
    return [to_invitation(row) for row in rows]


async def withdraw(work: UnitOfWork, company_id: str, invitation_id: str) -> None:
    await work.execute(REMOVE_INVITATION, id=invitation_id, company=company_id)


async def issue(
    work: UnitOfWork, invitation_id: str, code_digest: str, now_us: int
) -> tuple[Invitation, Company]:
    """Keeps the code that a message carries, in place of any earlier one."""
    row = await work.fetch_one(INVITATION, id=invitation_id, now=now_us)
    if row is None:
        raise domain.no_invitation()
    await work.execute(SET_CODE, id=invitation_id, digest=code_digest)
    company = await work.fetch_one(COMPANY, id=row["company_id"])
    assert company is not None, "a company is never removed"
    return to_invitation(row), to_company(company)


async def accept(
    work: UnitOfWork, user_id: str, email_key: str, code_digest: str, now_us: int
) -> tuple[Company, Role]:
    """Makes a member of who was invited. Who is one already keeps no less than they had."""
    row = await work.fetch_one(
        INVITATION_OF_CODE, digest=code_digest, email_key=email_key, now=now_us
    )
    if row is None:
        raise domain.no_invitation()
    invitation = to_invitation(row)
    await lock(work, invitation.company_id)
    if not await work.execute(REMOVE_INVITATION, id=invitation.id, company=invitation.company_id):
        raise domain.no_invitation()
    known = await work.fetch_one(ROLE, user=user_id, company=invitation.company_id)
    role = Role(known["role"]) if known else invitation.role
    if known is None:
        await set_member(work, invitation.company_id, user_id, role)
    company = await work.fetch_one(COMPANY, id=invitation.company_id)
    assert company is not None, "a company is never removed"
    return to_company(company), role


def to_company(row: Row) -> Company:
    return Company(id=row["id"], legal_name=row["legal_name"], cnpj=row["cnpj"])


def to_invitation(row: Row) -> Invitation:
    return Invitation(
        id=row["id"],
        company_id=row["company_id"],
        email=row["email"],
        email_key=row["email_key"],
        role=Role(row["role"]),
        expires_at_us=row["expires_at_us"],
    )
