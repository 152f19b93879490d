"""gRPC with everything that a contract promises, on grpc.aio.

policy        what the contract says of a method
status        errors ⇄ `google.rpc.Status`
validation    the contract's rules on a request
context       on whose behalf, and until when
consistency   what a command has told, for a read that must include it
door          who may come in
record        spans, durations and log lines of calls
unary         a handler, wrapped; streaming: the same for handlers of streams
server        servers, and the registration of handlers
ask           one call on a channel
mirror        copies of calls, made beside them
client        channels, and stub methods, wrapped once when a stub is made
"""

from mesh.rpc.context import Caller, Context, User, caller, mark_replayed

__all__ = ["Caller", "Context", "User", "caller", "mark_replayed"]
