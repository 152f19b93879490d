"""Puts the service together; the only module that knows all the others."""

from __future__ import annotations

from bank.accounts.v1.accounts_pb2_grpc import AccountsServiceStub
from bank.notifications.v1.notifications_pb2_grpc import NotificationsServiceStub
from bank.notifications.v1.webhooks_pb2_grpc import WebhooksServiceStub
from bank.pix.v1.codes_pb2_grpc import PixCodesServiceStub
from bank.pix.v1.keys_pb2_grpc import PixKeysServiceStub
from bank.pix.v1.pix_pb2_grpc import PixServiceStub
from bank.pix.v1.receipts_pb2_grpc import PixReceiptsServiceStub
from bank.pix.v1.sandbox_pb2_grpc import PixDirectorySandboxServiceStub, PixSandboxServiceStub
from bank.statements.v1.statements_pb2_grpc import StatementsServiceStub
from bank.suppliers.v1.suppliers_pb2_grpc import SuppliersServiceStub
from bank.support.v1.support_pb2_grpc import SupportServiceStub
from bank.transfers.v1.batches_pb2_grpc import TransferBatchesServiceStub
from bank.transfers.v1.recurring_pb2_grpc import RecurringTransfersServiceStub
from bank.transfers.v1.terms_pb2_grpc import TermsServiceStub
from bank.transfers.v1.transfers_pb2_grpc import TransfersServiceStub
from bank.users.v1.api_keys_pb2_grpc import ApiKeysServiceStub
from bank.users.v1.companies_pb2_grpc import CompaniesServiceStub
from bank.users.v1.staff_pb2_grpc import StaffServiceStub
from bank.users.v1.users_pb2_grpc import UsersServiceStub
from mesh.chassis import Chassis, Service
from mesh.rest import mount
from meshapi.v1.tokens_pb2_grpc import TokenKeysServiceStub

from .api import Charges, Home

STUBS = (
    ("users", UsersServiceStub),
    ("users", CompaniesServiceStub),
    ("users", ApiKeysServiceStub),
    ("users", StaffServiceStub),
    ("users", TokenKeysServiceStub),
    ("accounts", AccountsServiceStub),
    ("transfers", TransfersServiceStub),
    ("transfers", RecurringTransfersServiceStub),
    ("transfers", TransferBatchesServiceStub),
    ("transfers", TermsServiceStub),
    ("pix", PixServiceStub),
    ("pix", PixKeysServiceStub),
    ("pix", PixCodesServiceStub),
    ("pix", PixReceiptsServiceStub),
    ("pix", PixSandboxServiceStub),
    ("pix", PixDirectorySandboxServiceStub),
    ("suppliers", SuppliersServiceStub),
    ("statements", StatementsServiceStub),
    ("support", SupportServiceStub),
    ("notifications", NotificationsServiceStub),
    ("notifications", WebhooksServiceStub),
)


def build(chassis: Chassis) -> Service:
    home = Home(
        users=chassis.stub(UsersServiceStub, "users"),
        accounts=chassis.stub(AccountsServiceStub, "accounts"),
        transfers=chassis.stub(TransfersServiceStub, "transfers"),
    )
    charges = Charges(codes=chassis.stub(PixCodesServiceStub, "pix"))
    routes = [("/v1/home", home.get), ("/v1/pix/charges/{token}", charges.get)]
    app = mount(chassis, STUBS, title="Bank", routes=routes)
    return Service(name="bff", http=app)
