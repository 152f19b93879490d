from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest

from mesh.errors import InvalidArgument, Transient
from mesh.events.webhooks import Refusal, check_url
from mesh.events.webhooks.addresses import is_public, resolve
from mesh.events.webhooks.posting import Poster

from .receiver import receiving


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_an_address_is_public_or_not_however_it_is_written(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://[::1]/",
        "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data",
        "https://exa mple.com/",
        "https://example.com:99999/",
    ],
)
def test_a_url_to_which_nothing_goes_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        check_url(url, is_open=False)


async def test_a_name_is_resolved_once_for_each_try_and_the_address_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a name resolves to later (DNS rebinding) is never asked."""
    asked: list[str] = []
    answers = [["93.184.216.34"], ["93.184.216.34", "10.0.0.1"], ["127.0.0.1"], []]

    async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        found = answers[len(asked) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    target = await resolve("https://shop.example/a?b", is_open=False)
    assert (target.address, target.authority, target.path) == (
        "93.184.216.34",
        "shop.example",
        "/a?b",
    )
    for _ in range(2):
        with pytest.raises(Refusal, match="ADDRESS_NOT_PUBLIC"):
            await resolve("https://shop.example/", is_open=False)
    with pytest.raises(Transient):
        await resolve("https://shop.example/", is_open=False)
    assert asked == ["shop.example"] * 4


async def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with receiving() as receiver:
        port = int(receiver.url.split(":")[2].partition("/")[0])
        asked = 0

        async def getaddrinfo(host: str, port: int, **options: Any) -> list[Any]:
            nonlocal asked
            asked += 1
            assert host == "shop.example"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        poster = Poster(is_open=True)
        answer = await poster.post(f"http://shop.example:{port}/x", b"{}", {})
        await poster.close()
        closed = Poster(is_open=False)
        refused = await closed.post("https://shop.example/x", b"{}", {})
        await closed.close()
    assert (answer.status, asked) == (200, 2)
    assert receiver.posted[0].headers["host"] == f"shop.example:{port}"
    assert (refused.error, refused.is_final) == ("ADDRESS_NOT_PUBLIC", True)
