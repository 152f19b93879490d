"""Support: customers' questions and error reports, answered in the order of their urgency.

Owns       tickets and their answers; a copy of whose accounts there are, of what has last happened
           on them, and of the transfers that are under way
Asks       nobody
Publishes  TicketOpened, TicketAnswered, TicketResolved, TicketEscalated, TicketReopened
Listens    to users (MembershipChanged, UserErased),
           accounts (AccountOpened, AccountClosed, EntryPosted),
           transfers (TransferCreated, TransferAwaitingApproval, TransferApproved,
           TransferCompleted, TransferFailed, TransferCancelled)
"""
