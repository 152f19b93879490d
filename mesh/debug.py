"""What gRPC's core in this process says of itself, as JSON: channelz (gRFC A14) and CSDS (A40).

The same is served over gRPC with `debug_services`; here it is for whoever looks at the admin page,
and already added up: per channel the calls that the process made, and the attempts that they took.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["channels", "pages", "resources"]


def pages() -> Mapping[bytes, Callable[[], bytes]]:
    """The pages, by path."""
    return {
        b"/debug/channels": lambda: json.dumps(channels()).encode(),
        b"/debug/xds": lambda: json.dumps(resources()).encode(),
    }


def channels() -> list[dict[str, object]]:
    """Lists the channels, each with the addresses behind it. Counts are since the start.

    A channel counts calls, and an address counts attempts: the difference was repeated.
    """
    from grpc_channelz.v1 import channelz_pb2 as pb
    from grpc_channelz.v1.channelz import ChannelzServicer as Core

    found: list[dict[str, object]] = []
    first = 0
    while True:
        page = Core.GetTopChannels(pb.GetTopChannelsRequest(start_channel_id=first), None)
        for channel in page.channel:
            subchannels = [
                Core.GetSubchannel(pb.GetSubchannelRequest(subchannel_id=each.subchannel_id), None)
                for each in channel.subchannel_ref
            ]
            addresses = [_counts(each.subchannel.data) for each in subchannels]
            found.append({**_counts(channel.data), "addresses": addresses})
        if page.end or not page.channel:
            return found
        first = page.channel[-1].ref.channel_id + 1


def resources() -> list[dict[str, str]]:
    """Lists the resources that the core follows: one entry per channel, type and name.

    `resource` is the message in base64: its type is of no use to this process.
    """
    from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
    from grpc_csds import ClientStatusDiscoveryServiceServicer as Core

    return [
        {
            "type": entry.type_url,
            "name": entry.name,
            "version": entry.version_info,
            "status": ClientResourceStatus.Name(entry.client_status),
            "error": entry.error_state.details,
            "resource": b64encode(entry.xds_config.value).decode(),
        }
        for config in Core.FetchClientStatus(None, None).config
        for entry in config.generic_xds_configs
    ]


def _counts(data: Any) -> dict[str, object]:
    return {
        "target": data.target,
        "state": type(data.state).State.Name(data.state.state),
        "started": data.calls_started,
        "succeeded": data.calls_succeeded,
        "failed": data.calls_failed,
    }
