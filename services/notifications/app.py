"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from bank.users.v1.companies_pb2_grpc import CompaniesServiceStub
from bank.users.v1.users_pb2_grpc import UsersServiceStub
from mesh.chassis import Chassis, Service
from mesh.saga.runner import Saga

from . import handlers, store
from .api import NotificationsApi
from .clients import MailboxMailer, NoMailer
from .domain import Mailer
from .saga import deliver


def build(chassis: Chassis) -> Service:
    return Service(
        name="notifications",
        api=[NotificationsApi(chassis)],
        reactions=[handlers.NOTIFY],
        projections=[handlers.OWNERS],
        sagas=[
            Saga(
                name="deliver",
                run=partial(deliver, mailer=mailer(chassis)),
                load=store.get_message,
                finish=store.end,
            )
        ],
    )


def mailer(chassis: Chassis) -> Mailer:
    if chassis.settings.is_production:
        return NoMailer()
    users = chassis.stub(UsersServiceStub, "users")
    companies = chassis.stub(CompaniesServiceStub, "users")
    return MailboxMailer(users, companies, lambda mail: chassis.transact(store.keep_mail, mail))
