"""Who a process is: short-lived X.509 certificates with a SPIFFE id, and mutual TLS by them.

spiffe      ids: `spiffe://bank.local/<workload>`, and the peer of a call
authority   the root, the intermediate and what they issue
rotation    a new root for the old one
join        join tokens: what a process shows to get its first certificate
service     `meshapi.v1.IdentityService`, a part of the control plane
workload    a process's own certificate: obtained, renewed, given to gRPC
directory   the files of a certificate, replaced all at once
refusal     how the control plane says no
files       a certificate and a bootstrap for whoever is not started by the supervisor
"""
