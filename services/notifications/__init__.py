"""Notifications: tells people what has happened, once for each event, and programs outside too.

Owns       messages, what people want to be told, the development mailbox, webhooks and what is
           posted to them; copies of who owns which account and company, and of what is scheduled
Asks       users (where somebody is reached, and codes for messages), a mail provider
Publishes  nothing
Listens    to users (UserRegistered, CodeRequested, NewDeviceSeen, InvitationCreated,
           MembershipChanged, UserErased), support (TicketAnswered), transfers, pix and accounts
           (what people and webhooks are told)
"""
