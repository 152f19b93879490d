"""Webhooks: events posted to places outside, by HTTP.

A webhook belongs to an owner, such as a company. It is confirmed before it is sent any event: a
token is posted to it, and must come back. A handler offers events in its unit of work;
what is wanted is kept in the service's own database, and posted by the one process that holds the
lease, until it is taken, refused, or at the end of its schedule. A message may come twice, never
not at all; its id is the same each time.

General layout:

schedule     when a message is tried again
signing      the signature of a message, and how a receiver checks it
addresses    where messages may go, and that they go there
message      what a message looks like
store        the tables
posting      one POST
deliverer    all of it, in one process of a service
"""

from __future__ import annotations

from .addresses import Refusal, check_url
from .deliverer import Webhooks
from .schedule import Schedule
from .store import Delivery, Webhook, confirm, delete, deliveries, get, owned_by, rotate

__all__ = [
    "Delivery",
    "Refusal",
    "Schedule",
    "Webhook",
    "Webhooks",
    "check_url",
    "confirm",
    "delete",
    "deliveries",
    "get",
    "owned_by",
    "rotate",
]
