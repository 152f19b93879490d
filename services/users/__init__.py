"""Users: knows who is who, and gives out the tokens that prove it.

Owns       users, companies, memberships, invitations, codes, sessions, devices, signing keys
Asks       nobody
Publishes  UserRegistered, UserConfirmed, CodeRequested, NewDeviceSeen, UserErased, CompanyOpened,
           MembershipChanged, InvitationCreated, SessionsRevoked
Listens    to nobody
"""
