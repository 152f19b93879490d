"""Notifications: tells people what has happened, once for each event, and programs outside too.

Owns       messages, the development mailbox, webhooks and what is posted to them; copies of who
           owns which account and company
Asks       users (where somebody is reached, and codes for messages)
Publishes  nothing
Listens    to users (UserRegistered, CodeRequested, NewDeviceSeen, InvitationCreated, UserErased,
           MembershipChanged), support (TicketAnswered), transfers, pix and accounts (what people
           and webhooks are told)
"""
