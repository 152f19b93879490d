"""Notifications: tells people what has happened, once for each event.

Owns       messages, the development mailbox; a copy of who owns which account
Asks       users (where somebody is reached, and codes for messages)
Publishes  nothing
Listens    to users (UserRegistered, CodeRequested, NewDeviceSeen, InvitationCreated, UserErased),
           transfers (TransferCompleted, TransferFailed), pix (PixReceived),
           support (TicketAnswered), accounts (AccountOpened)
"""
