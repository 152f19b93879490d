"""The mesh: what every service stands on. It knows no service, and nothing of banks.

General layout, from the bottom:

errors, ids, clock, saga    the pure core, which business rules may import
settings                    one frozen object per process, read once
db                          unit of work, outbox table, one writer, SQLite and PostgreSQL
rpc                         gRPC: server and client, policy from the contract, errors both ways
auth                        users' tokens
audit                       who has changed what, kept with the change
identity                    workload certificates
events                      relay, projections, reactions, over NATS JetStream
checks                      what must always be true of rows, looked at all the time
rest                        REST routes mounted from `google.api.http`
chassis, noting             what a service declares, what it is given, and what an answer notes
run, process                a process's life, and its parts in their order
duties, endpoint, http      its events, sagas and checks; its gRPC server; its HTTP server
measures                    what a process tells the control plane of itself
admin, debug                the pages of a process: live, ready, metrics, channels
xds                         the control plane
catalogue                   who publishes and who listens, read from the services
supervisor, cli             the embedded profile and the command
testing                     the harness of service tests, real NATS and PostgreSQL
"""
