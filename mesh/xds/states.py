"""The states that an instance tells the control plane of itself."""

from __future__ import annotations

from typing import TypeAlias

from meshapi.v1 import registry_pb2 as pb

__all__ = ["DRAINING", "FAILING", "READY", "State"]

State: TypeAlias = pb.InstanceState.ValueType

READY = pb.INSTANCE_STATE_READY
DRAINING = pb.INSTANCE_STATE_DRAINING

FAILING = pb.INSTANCE_STATE_FAILING
