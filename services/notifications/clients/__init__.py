"""What this service asks of others.

people             the users service: where somebody is reached, and codes for messages
mailbox            the development mailbox, in place of a mail provider
smtp               a mail provider, by SMTP
"""
