"""Patterns that are masked, and those that only look alike."""

from __future__ import annotations

import pytest

from observability.redaction import mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("123.456.789-09", "***.***.***-09"),
        ("12345678909", "***.***.***-09"),
        ("cpf=12345678909;", "cpf=***.***.***-09;"),
        ("/pix/keys/12345678909/limits", "/pix/keys/***.***.***-09/limits"),
        ("12.345.678/0001-95", "**.***.***/****-95"),
        ("of 12345678000195.", "of **.***.***/****-95."),
        ("write to Ana.Maria+x@example.com.br now", "write to ***@*** now"),
        ("a@b, c@d.e", "***@***, ***@***"),
    ],
)
def test_personal_data_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OK",
        "bank.transfers.v1.TransfersService/CreateTransfer",
        "0192f0f0-1234-7000-8000-123456789012",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "1795613203940052961",
        "127.0.0.1:50051",
        "took 1234567890 ns",
        "version 123.456.789.012",
    ],
)
def test_what_is_not_personal_stays(text: str) -> None:
    assert mask(text) == text
