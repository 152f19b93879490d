"""The rules of this service. No gRPC, no NATS, no SQL.

messages           who is told what, and how far it has come
preferences        what somebody wants to be told, by which channel, in which language
texts              how a message is written: languages, money, dates
portuguese         the texts in Portuguese
english            the texts in English
telling            the message that tells somebody of an event
digest             the summary of a day
webhooks           what programs outside are told
"""
