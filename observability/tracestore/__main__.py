"""Runs the embedded trace store: `python -m observability.tracestore`."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

from . import BANNER
from .store import Limits, Store

_DEFAULTS = Limits()


def main(arguments: list[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Its first line of output gives the addresses."""
    options = _options(arguments)
    with contextlib.suppress(OSError):
        os.nice(options.nice)
    import uvicorn

    from .app import build

    limits = Limits(spans=options.max_spans, age_s=options.max_age_hours * 3600)
    sockets = [_listen(options.host, options.port)]
    if options.otlp_port != options.port or options.port == 0:
        sockets.append(_listen(options.host, options.otlp_port))
    query, otlp = (_address(sockets[0]), _address(sockets[-1]))
    config = uvicorn.Config(
        build(Store(options.data, limits)),
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    print(f"{BANNER}: http://{query}, OTLP http://{otlp}", flush=True)
    uvicorn.Server(config).run(sockets=sockets)


def _ended(number: int, frame: FrameType | None) -> None:
    """Takes the signal that uvicorn raises again after its graceful end: the exit code is 0."""


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="observability.tracestore", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=16686, help="pages and queries; 0: any")
    parser.add_argument("--otlp-port", type=int, default=4318, help="OTLP/HTTP; 0: any")
    parser.add_argument("--data", type=Path, required=True, help="directory of the database")
    parser.add_argument("--max-spans", type=int, default=_DEFAULTS.spans)
    parser.add_argument("--max-age-hours", type=float, default=_DEFAULTS.age_s / 3600)
    parser.add_argument("--nice", type=int, default=10, help="how much others go first")
    return parser.parse_args(arguments)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        sys.exit(f"cannot listen on {host}:{port}: {error.strerror}")
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    main()
