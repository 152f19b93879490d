"""The edge for apps: the contracts of the services as REST, and nothing of its own.

Owns       nothing
Asks       users, accounts, transfers, pix, suppliers, statements, support, notifications
Publishes  nothing
Listens    to nothing
"""
