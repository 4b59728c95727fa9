"""The argument parsing that commands share, against what redis-server makes of the same words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Oracle

from ferrite_hooks.commands.common import add_long_doubles, double, long_double
from ferrite_hooks.errors import ReplyError
from ferrite_hooks.resp.encoder import format_double

NUMBERS = [
    b"0", b"-0", b"0.1", b"-.5", b"5.", b"100.1", b"3.0e3", b"1e17", b"123456789012345678901234567890", b"1e-17",
    b"5e-18", b"4.9e-18", b"-4e-18", b"1e-4950", b"1e-5000", b"1e4932", b"2e4932", b"1e99999999999999999999",
    b"0e999999", b"inf", b"-inf", b"+INFINITY", b"nan", b"0x10", b"-0x1.8p1", b" 1", b"1 ", b"", b"1e", b"0x",
    b"1_0", b"1\x002", b"+7",
]  # fmt: skip


def ours(value: bytes, increment: bytes) -> bytes:
    """The wire reply of INCRBYFLOAT."""
    try:
        total = add_long_doubles(long_double(value), long_double(increment))
    except ReplyError as error:
        return b"-%b\r\n" % error.text.encode()
    return b"$%d\r\n%b\r\n" % (len(total), total)


@pytest.mark.parametrize("value", NUMBERS)
def test_long_doubles_are_redis_s(oracle: Oracle, value: bytes) -> None:
    for increment in NUMBERS:
        oracle("SET", "k", value)
        assert ours(value, increment) == oracle("INCRBYFLOAT", "k", increment), (value, increment)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.sampled_from(NUMBERS)
    | st.floats().map(lambda n: b"%.17g" % n)
    | st.text("0123456789-+._ex", max_size=22).map(str.encode)
)
def test_doubles_are_redis_s(redis_port: int, value: bytes) -> None:
    connection = Oracle(redis_port)
    try:
        connection("DEL", "k")
        reply = connection("ZADD", "k", value, "m")
        score = format_double(double(value) + 0.0)  # the compact encoding has no -0
        assert reply == b":1\r\n"
        assert connection("ZSCORE", "k", "m") == b"$%d\r\n%b\r\n" % (len(score), score)
    except ReplyError as error:
        assert reply == b"-%b\r\n" % error.text.encode()
    finally:
        connection.close()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(-(10**20), 10**20), st.integers(-22, 4)), min_size=2, max_size=2),
)
def test_long_double_sums(redis_port: int, numbers: list[tuple[int, int]]) -> None:
    value, increment = (b"%de%d" % number for number in numbers)
    connection = Oracle(redis_port)
    try:
        connection("SET", "k", value)
        assert ours(value, increment) == connection("INCRBYFLOAT", "k", increment)
    finally:
        connection.close()
