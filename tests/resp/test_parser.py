"""The parser against its own careful half, split anywhere, and against redis-server's errors."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrite_hooks.resp.parser import INLINE_MAX, Parser, split_inline
from ferrite_hooks.version import build


def encode(argv: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in argv)


# binary, and what looks like the protocol's own marks
WORD = st.binary(max_size=20) | st.lists(st.sampled_from([b"\r\n", b"*", b"$", b"3", b"x"]), max_size=8).map(b"".join)
ARGV = st.lists(WORD, min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.lists(ARGV, max_size=8), st.lists(st.integers(0, 400), max_size=6))
def test_any_split_gives_the_same_commands(commands: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join(map(encode, commands))
    parser, found = Parser(), []
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        if end > start:
            found += parser.feed(data[start:end])
    assert found == commands
    assert parser.error is None and parser.buffered == 0


@pytest.mark.skipif(build() == "pure", reason="hiredis takes some contrived commands that are not well-formed")
@settings(max_examples=500, deadline=None)
@given(st.lists(ARGV, min_size=1, max_size=4), st.data())
def test_both_halves_agree_on_damaged_commands(commands: list[list[bytes]], data: st.DataObject) -> None:
    wire = bytearray(b"".join(map(encode, commands)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire) - 1))
        mark = data.draw(st.sampled_from([b"", b"0", b"9", b"-", b"\r", b"*", b"$"]))
        wire[at : at + data.draw(st.integers(0, 2))] = mark
        if not wire:
            return
    both, careful = Parser(), Parser()
    careful.authenticated = False  # then it does nothing in haste, and the limits are beyond what is sent here
    assert both.feed(bytes(wire)) == careful.feed(bytes(wire))
    if careful.error is None or "unauthenticated" not in careful.error:
        assert both.error == careful.error and both.buffered == careful.buffered


def test_a_last_command_with_line_ends_in_it_does_not_wait_for_the_next() -> None:
    commands = [[b"GET", b"k"], [b"SET", b"k", b"a\r\nb"]]
    parser = Parser()
    assert parser.feed(b"".join(map(encode, commands))) == commands
    assert parser.buffered == 0


def test_inline_and_arrays_mix() -> None:
    parser = Parser()
    data = b"PING\r\n" + encode([b"GET", b"k"]) + b'\r\nSET "a b" \'c\'\n*0\r\n*-1\r\n' + encode([b"DEL", b"\r\n"])
    assert parser.feed(data) == [[b"PING"], [b"GET", b"k"], [b"SET", b"a b", b"c"], [b"DEL", b"\r\n"]]


@pytest.mark.parametrize("line, args", [
    (b'SET k "\\x41\\n\\"q"', [b"SET", b"k", b'A\n"q']),
    (b"SET k 'it\\'s'", [b"SET", b"k", b"it's"]),
    (b"   ", []),
    (b'"unbalanced', None),
    (b'"a"b', None),
    (b"GET k\0 more", [b"GET", b"k"]),  # to Redis the line is a C string
    (b'GET "k\0"', None),
])  # fmt: skip
def test_inline_quoting(line: bytes, args: list[bytes] | None) -> None:
    assert split_inline(line) == args


def test_a_header_reserves_nothing() -> None:
    """Twelve bytes that announce a gigabyte of array must cost twelve bytes."""
    parser = Parser()
    assert parser.feed(b"*134217728\r\n") == []
    assert parser.feed(b"$536870912\r\n") == []
    assert parser.buffered < 100


def test_nested_arrays_and_numbers_are_not_commands() -> None:
    for data in (b"*1\r\n*1\r\n:5\r\n", b"*2\r\n$3\r\nGET\r\n:5\r\n", b"*1\r\n+PING\r\n", b"*1\r\n$-1\r\n"):
        parser = Parser()
        assert parser.feed(data) == []
        assert parser.error is not None, data


MALFORMED = [
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*1\r\n:5\r\n",
    b"*1\r\n$-4\r\nPING\r\n",
    b"*1\r\n$abc\r\n",
    b"*x\r\n",
    b"*2147483648\r\n",
    b"*1\r\n$536870913\r\n",
    b'SET k "unbalanced\r\n',
    b"*" + b"1" * (INLINE_MAX + 10),
    b"*1\r\n$" + b"1" * (INLINE_MAX + 10),
    b"A" * (INLINE_MAX + 10),
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\nv\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
]


@pytest.mark.parametrize("data", MALFORMED, ids=lambda data: repr(data[:24]))
def test_malformed_input_is_answered_as_redis_does(redis_port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", redis_port), timeout=5) as wire:
        wire.sendall(data)
        expected = wire.recv(1000).decode().strip()
    parser = Parser()
    parser.feed(data)
    assert f"-ERR Protocol error: {parser.error}" == expected


def test_before_authentication_little_is_accepted(redis_port: int) -> None:
    parser = Parser()
    parser.authenticated = False
    assert parser.feed(encode([b"AUTH", b"x"])) == [[b"AUTH", b"x"]]
    parser.feed(b"*11\r\n")
    assert parser.error == "unauthenticated multibulk length"
    other = Parser()
    other.authenticated = False
    other.feed(b"*1\r\n$16385\r\n")
    assert other.error == "unauthenticated bulk length"


def test_nothing_is_read_after_an_error() -> None:
    parser = Parser()
    assert parser.feed(b"PING\r\n*x\r\nPING\r\n") == [[b"PING"]]
    assert parser.feed(b"PING\r\n") == []
