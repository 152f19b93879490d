"""Speaks `bank.notifications.v1`, and decides nothing.

messages           what people are told
webhooks           what programs outside are told
"""
