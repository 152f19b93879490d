"""The mesh: what every service stands on. It knows no service, and nothing of banks.

General layout, from the bottom:

errors, ids, clock, saga    the pure core, which business rules may import
settings                    one frozen object per process, read once
db                          unit of work, outbox table, one writer, SQLite and PostgreSQL
rpc                         gRPC: server and client, policy from the contract, errors both ways
auth                        users' tokens
identity                    workload certificates
xds                         the control plane
events                      relay, projections, reactions, over NATS JetStream
rest                        REST routes mounted from `google.api.http`
chassis, run                what a service declares, what it is given; a process's life
supervisor, cli             the embedded profile and the command
"""
