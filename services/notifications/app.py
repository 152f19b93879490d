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
from .clients.mailbox import MailboxMailer, NoMailer
from .clients.people import People
from .clients.smtp import SmtpMailer, SmtpSettings
from .domain.messages import Mailer
from .saga import deliver, summarise


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
                name=store.DELIVER,
                run=partial(deliver, mailer=mailer(chassis)),
                load=store.get_message,
                finish=store.end,
            ),
            Saga(
                name=store.SUMMARISE,
                run=summarise,
                load=store.load_digest,
                finish=store.send_digest,
            ),
        ],
    )


def mailer(chassis: Chassis) -> Mailer:
    """Chooses who sends e-mails: the provider that is set, or else the mailbox in development."""
    users = chassis.stub(UsersServiceStub, "users")
    people = People(users, chassis.stub(CompaniesServiceStub, "users"))
    settings = SmtpSettings()
    if settings.host:
        return SmtpMailer(people, settings)
    if chassis.settings.is_production:
        return NoMailer()
    return MailboxMailer(people, lambda mail: chassis.transact(store.keep_mail, mail))
