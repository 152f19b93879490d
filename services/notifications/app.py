"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from functools import partial

from bank.users.v1.companies_pb2_grpc import CompaniesServiceStub
from bank.users.v1.users_pb2_grpc import UsersServiceStub
from mesh.chassis import Chassis, Service
from mesh.events.webhooks import Webhooks
from mesh.saga.runner import Saga

from . import handlers, store
from .api.messages import NotificationsApi
from .api.webhooks import WebhooksApi
from .clients import MailboxMailer, NoMailer
from .domain import Mailer
from .saga import deliver


def build(chassis: Chassis) -> Service:
    # In development messages go to programs on the same machine, too.
    posted = Webhooks(chassis, is_open=not chassis.settings.is_production)
    return Service(
        name="notifications",
        api=[NotificationsApi(chassis), WebhooksApi(chassis, posted)],
        reactions=[handlers.NOTIFY, handlers.outside(posted)],
        projections=[handlers.OWNERS, handlers.MEMBERS],
        background=[posted.run],
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
