"""Users: knows who is who, and gives out the tokens that prove it.

Owns       users, companies, memberships, codes, sessions, signing keys
Asks       nobody
Publishes  UserRegistered, UserConfirmed, CodeRequested, CompanyOpened, MembershipChanged,
           SessionsRevoked
Listens    to nobody
"""
