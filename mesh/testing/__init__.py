"""What tests stand on: real parts, started for them and stopped after them.

harness     one service in this process, over real sockets, with a real database
tokens      access tokens
nats        a real nats-server; postgres: a real PostgreSQL
"""
