"""Where people, and what they act for, are kept and told of: a change and its event are one.

users       people, their codes, their failed sign-ins
companies   companies, members, invitations
people      all that is kept about one person
"""
