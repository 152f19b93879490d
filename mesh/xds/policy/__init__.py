"""The operator's policy: what is said of the traffic over what the contracts say.

document      the policy as a message: found, pruned, compared, written as text; no I/O
lanes         which calls go where: the order of a service's routes; a pure function
capabilities  what the connected clients can do
rules         what is refused, and why; a pure function
preview       what would become of a call; a pure function
book          the policy of now and its history, and who is told of changes
bucket        the history in a NATS KV bucket
canary        a shift of traffic that watches itself
service       `meshapi.v1.PolicyService`
"""
