"""What is read from redis-benchmark, what is poured by hand, and what grows."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from process import until

from benchmarks import growth
from benchmarks.commands import COMMANDS, TOP_TEN, ceiling_row, processor_ratios, runs_row, words_of
from benchmarks.load import Run, parsed
from benchmarks.receipts import asking
from benchmarks.resources import pour

HEAD = ["test", "rps", *(f"{name}_latency_ms" for name in ("avg", "min", "p50", "p95", "p99", "max"))]
LAST = ["EVAL return redis.call('SET', KEYS[1], ARGV[1]) 1 a,b", "54945.05", "0.4", "0.2", "0.471", "0.6", "0.711", "1"]
PRINTED = "".join(",".join(f'"{cell}"' for cell in line) + "\n" for line in (HEAD, LAST))


def test_csv_of_redis_benchmark() -> None:
    assert parsed(PRINTED) == (54945.05, 0.471, 0.711)


@pytest.mark.parametrize("printed", ["", "Could not connect to Redis at 127.0.0.1:1: Connection refused\n"])
def test_something_else_is_refused(printed: str) -> None:
    with pytest.raises(ValueError, match="redis-benchmark said"):
        parsed(printed)


def test_values_have_their_size() -> None:
    for name in COMMANDS:
        assert "{value}" not in " ".join(words_of(name, 7))
    assert words_of("SET", 7)[-1] == "x" * 7
    assert len(words_of("MSET")) == 21


def test_the_ceiling_is_the_rate_by_the_share_of_the_core() -> None:
    row = ceiling_row("commands", {1: [(0.5, 100_000), (0.5, 100_000)], 16: [(1.1, 400_000)]})
    assert row.ours == (200, 400)
    assert "50% / 110%" in row.note


def runs(rate: float, *cpu_us: float) -> list[Run]:
    return [Run(rate, 1.0, 1.0, us, 0.5) for us in cpu_us]


def test_a_row_keeps_the_processor_time_of_every_round() -> None:
    row = runs_row("commands", "SET", {1: [runs(50_000, 9, 8), runs(100_000, 6, 4)], 16: [runs(4e5, 2), runs(4e5, 1)]})
    assert row.ours == (50, 400) and row.ratio == (0.5, 1)
    assert row.raw["ours cpu_us pipeline 1"] == [9, 8] and row.raw["theirs cpu_us pipeline 16"] == [1]


def test_ratios_of_processor_time_are_those_of_rounds_and_their_geometric_mean() -> None:
    slow = runs_row("commands", "SET", {1: [runs(1, 10, 90), runs(1, 5, 45)]})
    fast = runs_row("commands", "GET", {1: [runs(1, 1, 1), runs(1, 2, 2)]})
    assert processor_ratios([slow]) == pytest.approx((2.0,))
    assert processor_ratios([slow, fast]) == pytest.approx((1.0,))


def test_growth_is_judged_within_one_thing() -> None:
    points = [
        growth.Point("keys", 1000, 1e5, 0.5, 9.0, 2.0), growth.Point("keys", 10_000, 1e5, 0.5, 9.0, 2.2),
        growth.Point("clients", 10, 1e5, 0.5, 9.0, 8.0), growth.Point("keys", 100_000, 1e5, 0.5, 9.0, 4.4),
    ]  # fmt: skip
    assert growth.factors(points) == [None, pytest.approx(1.1), None, pytest.approx(2.0)]
    table = growth.rendered(points)
    beside = growth.Point(growth.BESIDE, 10, 1e5, 0.5, 9.0, 4.4)
    assert growth.too_much(points[3], 2.0) and not growth.too_much(beside, 2.0) and not growth.too_much(points[0], None)
    assert "1.10 |" in table and "2.00 ✗ |" in table


def test_what_connections_cost_is_taken_off() -> None:
    few, many = Run(1.0, 1.0, 1.0, 102.0, 0.5), Run(1.0, 1.0, 1.0, 7.0, 0.5)
    # 100 connections of 100 µs, and 2 µs a request
    assert growth.more_cost(few, 100, many, 2000) == pytest.approx(2.0)


class Peer:
    """Answers every line with `reply`, in odd pieces; has the lines."""

    def __init__(self, reply: bytes) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.reply, self.lines = reply, bytearray()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        peer, _ = self.listener.accept()
        with peer:
            while data := peer.recv(777):
                self.lines += data
                try:
                    peer.sendall(self.reply * data.count(b"\n"))
                except OSError:
                    return

    def close(self) -> None:
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
def peer(request: Any) -> Any:
    made = Peer(request.param)
    yield made
    made.close()


@pytest.mark.parametrize("peer", [b"+OK\r\n"], indirect=True)
def test_pour_sends_each_line_once(peer: Peer) -> None:
    server: Any = SimpleNamespace(name="x", port=peer.listener.getsockname()[1])
    pour(server, 2500, b"SET key:%d v\r\n", first=100)
    peer.close()
    assert peer.lines.split() == [word for n in range(100, 2600) for word in (b"SET", b"key:%d" % n, b"v")]


@pytest.mark.parametrize("peer", [b""], indirect=True)
def test_asking_does_not_wait_for_answers(peer: Peer) -> None:
    server: Any = SimpleNamespace(name="x", port=peer.listener.getsockname()[1])
    with asking(server, TOP_TEN, 0.001):
        until(lambda: len(peer.lines) >= 3 * len(TOP_TEN))
    peer.close()
    assert set(bytes(peer.lines).splitlines(keepends=True)) == {TOP_TEN}


@pytest.mark.parametrize("peer", [b"-OOM no\r\n"], indirect=True)
def test_pour_refuses_errors(peer: Peer) -> None:
    server: Any = SimpleNamespace(name="x", port=peer.listener.getsockname()[1])
    with pytest.raises(RuntimeError, match="OOM"):
        pour(server, 10)
