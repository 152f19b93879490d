"""The control plane (xDS v3, state of the world), and what a process needs to follow it.

catalogue      which services there are, and which instances; no I/O
policy         what an operator says of the traffic: kept, judged, carried out
resources      what a service looks like in xDS; a pure function
routes, zones  two parts of it: the route table; who is called before whom
snapshot       the resources of this moment, each with its version; no I/O
subscription   one client's stream: what it wants, has, accepted or refused; no I/O
publisher      from a change in the catalogue to the clients
registry       `meshapi.v1.RegistryService`: an instance lives as long as its stream
server         the discovery service (ADS)
load           who calls whom, as the clients report it (LRS)
measured       what instances measure of themselves, when they are asked
asked          how operators are answered by gRPC
sight          `meshapi.v1.SightService`: clients, edges, resources
store          the catalogue on disk
admin          what operators ask over HTTP
plane          all of it together; `python -m mesh.xds` runs it
accepted       what the core of a process has accepted, for its chassis
mirrors        what of it is to be copied
fallback       who answers the core while no control plane does; last_known: what
bootstrap      what a gRPC client must know to follow the control plane
together       the two sides of a stream
lease          how a process stays registered
"""
