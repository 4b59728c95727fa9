"""Numbers in replies."""

from __future__ import annotations

import pytest

from ferrite_hooks.resp.encoder import encode2, encode3
from ferrite_hooks.webhooks.report import number


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (0.764, b"$5\r\n0.764\r\n", b",0.764\r\n"), (12.0, b":12\r\n", b":12\r\n"), (0.0, b":0\r\n", b":0\r\n"),
        (0.1 + 0.2, b"$3\r\n0.3\r\n", b",0.3\r\n"), (1234.56789, b"$8\r\n1234.568\r\n", b",1234.568\r\n"),
        (0.0001, b":0\r\n", b":0\r\n"), (100.0, b":100\r\n", b":100\r\n"), (1e6, b":1000000\r\n", b":1000000\r\n"),
    ],
)  # fmt: skip
def test_numbers_have_three_decimals_at_most(value: float, resp2: bytes, resp3: bytes) -> None:
    for encode, expected in ((encode2, resp2), (encode3, resp3)):
        out: list[bytes] = []
        encode(out, number(value))
        assert b"".join(out) == expected
