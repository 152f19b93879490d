"""Speaks `meshapi.v1.ChecksService`."""

# gRPC names its methods in CamelCase.
# ruff: noqa: N802

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.rpc.context import Context
from meshapi.v1 import checks_pb2 as pb
from meshapi.v1.checks_pb2_grpc import ChecksServiceServicer

from . import Finding
from .runner import CheckRunner, Standing

__all__ = ["ChecksApi"]

_TOLD: Final = 100


class ChecksApi(ChecksServiceServicer):
    """Tells what the process that is asked has found."""

    def __init__(self, runner: CheckRunner) -> None:
        self._runner = runner

    async def ListChecks(
        self, request: pb.ListChecksRequest, context: Context
    ) -> pb.ListChecksResponse:
        if request.whole:
            await self._runner.whole()
        return pb.ListChecksResponse(checks=map(_check, self._runner.standing))


def _check(standing: Standing) -> pb.Check:
    findings = standing.findings
    check = pb.Check(
        name=standing.check.name,
        broken=len(findings),
        drift=standing.drift,
        looked_at=standing.looked_at,
        problem=standing.problem,
        findings=map(_finding, findings[:_TOLD]),
    )
    if standing.swept_at_us:
        swept_at = Timestamp()
        swept_at.FromMicroseconds(standing.swept_at_us)
        check.swept_at.CopyFrom(swept_at)
    return check


def _finding(finding: Finding) -> pb.Finding:
    return pb.Finding(subject=finding.subject, sentence=finding.sentence, drift=finding.drift)
