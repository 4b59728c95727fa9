"""Lists that clients wait for: who is served, when, with what; compared with redis-server."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from histories import apply, contents
from oracle import Oracle, Pair, Wire, Word, encode

from ferrite_hooks.engine.blocking import unblock
from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.engine.session import Session
from ferrite_hooks.errors import INTERNAL


class Crowd:
    """The same named clients on both servers. `do` is a command that answers at once; one that blocks is
    started with `wait`, and its answer is compared by `answer`."""

    def __init__(self, oracle: Oracle, harness: Harness, resp: int = 2) -> None:
        self.pair = Pair(oracle, harness, resp)
        self.oracle, self.harness, self.resp = oracle, harness, resp
        self.wires: dict[str, Wire] = {}
        self.clients: dict[str, Client] = {}

    def do(self, *words: Word) -> bytes:
        return self.pair.check(*words)

    def wait(self, name: str, *words: Word) -> None:
        """Starts a blocking command, and returns when redis-server has it too."""
        if name not in self.wires:
            self.wires[name] = Wire(self.oracle.socket.getpeername()[1])
            self.oracle.companions.append(self.wires[name])
            self.clients[name] = self.harness.connect()
            if self.resp == 3:
                self.wires[name]("HELLO", 3)
                self.clients[name].session.set_protocol(3)
        before = self._blocked()
        self.wires[name].send(encode(words))
        self.clients[name](*words)
        assert self.clients[name].session.blocked
        while self._blocked() == before:
            pass

    def _blocked(self) -> bytes:
        info = self.oracle("INFO", "clients")
        return info.split(b"blocked_clients:")[1].split(b"\r\n")[0]

    def answer(self, *names: str) -> None:
        """These clients, and no others, have been answered, and alike."""
        for name, client in self.clients.items():
            assert (client.session.blocked is None) == (name in names), name
        for name in names:
            expected, actual = self.wires.pop(name).read(), self.clients.pop(name).sent()
            assert actual == expected, f"{name}: redis-server {expected!r}, ours {actual!r}"
        assert self._blocked() == b"%d" % len(self.clients)


@pytest.fixture
def crowd(oracle: Oracle, harness: Harness) -> Crowd:
    return Crowd(oracle, harness)


@pytest.mark.parametrize("words", [
    ("BLPOP", "l", 0), ("BRPOP", "none", "l", 0), ("BLMPOP", 0, 2, "none", "l", "LEFT", "COUNT", 2),
    ("BLMPOP", 0, 1, "l", "RIGHT"), ("BLMOVE", "l", "d", "LEFT", "LEFT", 0), ("BRPOPLPUSH", "l", "l", 0),
    ("BLPOP", "s", 0), ("BLPOP", "none", "s", "l", 0), ("BLMPOP", 0, 2, "s", "l", "LEFT"),
    ("BLMOVE", "s", "d", "LEFT", "LEFT", 0), ("BLMOVE", "l", "s", "LEFT", "LEFT", 0), ("BRPOPLPUSH", "l", "s", 0),
    ("BLPOP", "l", -1), ("BLPOP", "l", "x"), ("BLPOP", "l", ""), ("BLPOP", "l", "nan"),
    ("BLPOP", "l", "0x10"), ("BLPOP", "l"), ("BLPOP",),
    ("BLMOVE", "l", "d", "UP", "LEFT", "x"), ("BLMOVE", "l", "d", "LEFT", "LEFT", "x"), ("BRPOPLPUSH", "s", "d", "x"),
    ("BLMOVE", "l", "d", "LEFT", "LEFT"), ("BLMPOP", "x", 0, "l", "LEFT"), ("BLMPOP", "x", 1, "l", "UP"),
    ("BLMPOP", "x", 1, "l", "LEFT", "COUNT", 0), ("BLMPOP", "x", 1, "l", "LEFT"), ("BLMPOP", -1, 1, "l", "LEFT"),
    ("BLMPOP", 0, 2, "l", "LEFT"), ("BLMPOP", 0, 1, "l"),
])  # fmt: skip
@pytest.mark.parametrize("resp", [2, 3])
def test_at_once(oracle: Oracle, harness: Harness, words: tuple[Word, ...], resp: int) -> None:
    both = Pair(oracle, harness, resp)
    both.check("SET", "s", "v")
    both.check("RPUSH", "l", "a", "b", "c")
    both.check(*words)
    both.events()
    both.check("LRANGE", "l", 0, -1)


@pytest.mark.parametrize("timeout", ["inf", 10**16])
def test_a_timeout_beyond_time(client: Client, timeout: Word) -> None:
    """As Redis 7.2 says it; 7.0 lets the sum overflow and calls it negative."""
    assert client("BLPOP", "l", timeout).text == "ERR timeout is out of range"


def test_first_come_first_served(crowd: Crowd) -> None:
    for name in ("a", "b", "c"):
        crowd.wait(name, "BLPOP", "l", 0)
    crowd.do("RPUSH", "l", "1", "2")
    crowd.answer("a", "b")
    crowd.do("LPUSH", "l", "3")
    crowd.answer("c")
    crowd.do("LLEN", "l")
    crowd.pair.events()


def test_several_keys_and_kinds_of_waiting(crowd: Crowd) -> None:
    crowd.wait("a", "BLPOP", "k", "l", 0)
    crowd.wait("b", "BRPOP", "l", "k", 0)
    crowd.wait("c", "BLMPOP", 0, 2, "k", "l", "RIGHT", "COUNT", 10)
    crowd.do("RPUSH", "l", "1", "2", "3", "4")
    crowd.answer("a", "b", "c")
    crowd.do("LRANGE", "l", 0, -1)
    crowd.pair.events()


def test_a_key_named_twice(crowd: Crowd) -> None:
    crowd.wait("a", "BLPOP", "l", "l", 0)
    crowd.do("RPUSH", "l", "1")
    crowd.answer("a")
    assert not any(db.blocked for db in crowd.harness.engine.databases)


@pytest.mark.parametrize("push", [("SET", "l", "v"), ("HSET", "l", "f", "v"), ("SADD", "l", "m")])
def test_another_type_meanwhile(crowd: Crowd, push: tuple[Word, ...]) -> None:
    crowd.wait("a", "BLPOP", "l", "k", 0)
    crowd.wait("b", "BLMOVE", "l", "d", "LEFT", "LEFT", 0)
    crowd.wait("c", "BLMPOP", 0, 2, "l", "k", "LEFT")
    crowd.do(*push)
    crowd.answer()
    crowd.do("DEL", "l")  # else 7.2 runs into it when it looks at `k`, which 7.0 does not
    crowd.do("RPUSH", "k", "1")
    crowd.answer("a")
    crowd.do("RPUSH", "k", "2")
    crowd.answer("c")
    crowd.pair.events()


def test_a_destination_of_another_type_ends_the_wait(crowd: Crowd) -> None:
    crowd.do("SET", "s", "v")
    crowd.wait("a", "BRPOPLPUSH", "l", "s", 0)
    crowd.wait("b", "BLMOVE", "l", "s", "LEFT", "RIGHT", 0)
    crowd.wait("c", "BLPOP", "l", 0)
    crowd.do("RPUSH", "l", "1")
    crowd.answer("a", "b", "c")
    crowd.pair.events()


def test_chains_of_moves(crowd: Crowd) -> None:
    crowd.wait("c", "BLPOP", "z", 0)
    crowd.wait("b", "BLMOVE", "y", "z", "RIGHT", "LEFT", 0)
    crowd.wait("a", "BRPOPLPUSH", "x", "y", 0)
    crowd.do("LPUSH", "x", "1")
    crowd.answer("a", "b", "c")
    crowd.pair.events()


def test_a_circle_of_moves_ends(crowd: Crowd) -> None:
    crowd.wait("a", "BRPOPLPUSH", "x", "y", 0)
    crowd.wait("b", "BRPOPLPUSH", "y", "x", 0)
    crowd.do("LPUSH", "x", "1")
    crowd.answer("a", "b")
    crowd.do("LRANGE", "x", 0, -1)
    crowd.pair.events()


def test_moving_within_one_list(crowd: Crowd) -> None:
    crowd.wait("a", "BLMOVE", "l", "l", "LEFT", "RIGHT", 0)
    crowd.do("RPUSH", "l", "1", "2")
    crowd.answer("a")
    crowd.do("LRANGE", "l", 0, -1)
    crowd.pair.events()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("words", [
    ("BLPOP", "l", 0.01), ("BLMPOP", 0.01, 1, "l", "LEFT"), ("BLMOVE", "l", "d", "LEFT", "LEFT", 0.01),
    ("BRPOPLPUSH", "l", "d", 0.01),
])  # fmt: skip
def test_timeouts(oracle: Oracle, harness: Harness, resp: int, words: tuple[Word, ...]) -> None:
    pair = Pair(oracle, harness, resp)
    expected = oracle(*words)
    pair.ours(*words)
    harness.advance(9)
    assert pair.ours.session.blocked
    harness.advance(1)
    assert pair.ours.sent() == expected and not pair.ours.session.blocked


@pytest.mark.parametrize("words, reply", [
    (("BLPOP", "l", 0), b"*-1\r\n"), (("BLMPOP", 0, 1, "l", "LEFT"), b"*-1\r\n"),
    (("BLMOVE", "l", "d", "LEFT", "LEFT", 0), b"$-1\r\n"), (("BRPOPLPUSH", "l", "d", 0), b"$-1\r\n"),
])  # fmt: skip
def test_where_blocking_is_denied(client: Client, words: tuple[Word, ...], reply: bytes) -> None:
    client.session.deny_blocking = True
    assert client.raw(*words) == reply and client.session.blocked is None


def test_a_waiting_client_that_leaves_takes_nothing(harness: Harness, client: Client) -> None:
    first, second = harness.connect(), harness.connect()
    first("BLPOP", "l", 0)
    second("BLPOP", "l", 0)
    unblock(first.session)
    client("RPUSH", "l", "1")
    assert (first.sent(), second.sent()) == (b"", b"*2\r\n$1\r\nl\r\n$1\r\n1\r\n")


def test_effects_replay(harness: Harness, client: Client) -> None:
    copy, clients = Harness(), [harness.connect() for _ in range(5)]
    clients[0]("BLPOP", "a", 0)
    clients[1]("BRPOP", "a", "b", 0)
    clients[2]("BLMOVE", "a", "b", "LEFT", "RIGHT", 0)
    clients[3]("BRPOPLPUSH", "b", "c", 0)
    clients[4]("BLMPOP", 0, 2, "c", "d", "LEFT", "COUNT", 5)
    client("RPUSH", "a", "1", "2", "3", "4")
    client("RPUSH", "d", "5")
    effects, _ = harness.engine.drain()
    assert not any(effect[0].startswith(b"B") for effect in effects)
    apply(copy, effects)
    assert contents(copy) == contents(harness)
    assert [c.session.blocked for c in clients] == [None] * 5


def test_a_served_pop_is_its_client_s_own_event(harness: Harness, client: Client) -> None:
    waiting = harness.connect()
    waiting("BLMOVE", "l", "d", "LEFT", "LEFT", 0)
    harness.capture_all()
    client("RPUSH", "l", "1")
    _, changes = harness.engine.drain()
    assert [(c.event, c.command, c.client) for c in changes] == [
        ("rpush", "RPUSH", client.session.id), ("lpush", "BLMOVE", waiting.session.id),
        ("lpop", "BLMOVE", waiting.session.id), ("del", "BLMOVE", waiting.session.id),
    ]  # fmt: skip


@pytest.mark.parametrize("words", [
    ("BLPOP", "l", 0), ("BLMPOP", 0, 1, "l", "LEFT"), ("BLMOVE", "l", "d", "LEFT", "LEFT", 0),
    ("BRPOPLPUSH", "l", "d", 0),
])  # fmt: skip
@pytest.mark.parametrize("resp", [2, 3])
def test_inside_multi(oracle: Oracle, harness: Harness, words: tuple[Word, ...], resp: int) -> None:
    crowd = Crowd(oracle, harness, resp)
    for before in [(), ("RPUSH", "l", "1", "2")]:
        crowd.do("MULTI")
        if before:
            crowd.do(*before)
        crowd.do(*words)
        crowd.do("LLEN", "l")
        crowd.do("EXEC")
    crowd.pair.events()


def test_what_is_gone_when_the_transaction_ends_wakes_nobody(crowd: Crowd) -> None:
    crowd.wait("a", "BLPOP", "l", 0)
    crowd.wait("b", "BLMOVE", "l", "d", "LEFT", "LEFT", 0)
    for after in [("DEL", "l"), ("SET", "l", "v"), ("LPOP", "l")]:
        crowd.do("MULTI")
        crowd.do("RPUSH", "l", "1")
        crowd.do(*after)
        crowd.do("EXEC")
        crowd.answer()
    crowd.do("DEL", "l")
    crowd.do("MULTI")
    crowd.do("RPUSH", "l", "1")
    crowd.do("LPUSH", "l", "0")
    crowd.do("EXEC")
    crowd.answer("a", "b")
    crowd.pair.events()


@pytest.mark.parametrize("words", [
    ("RENAME", "other", "l"), ("COPY", "other", "l"), ("SORT", "other", "ALPHA", "STORE", "l"),
    ("LMOVE", "other", "l", "LEFT", "LEFT"), ("RPOPLPUSH", "other", "l"),
])  # fmt: skip
def test_a_list_that_comes_another_way_is_served_too(crowd: Crowd, words: tuple[Word, ...]) -> None:
    crowd.do("RPUSH", "other", "3", "1", "2")
    crowd.wait("a", "BLPOP", "l", 0)
    crowd.do(*words)
    crowd.answer("a")
    crowd.do("LRANGE", "l", 0, -1)


def test_a_client_in_another_database_is_not_served(crowd: Crowd) -> None:
    crowd.wait("a", "BLPOP", "l", 0)
    crowd.do("SELECT", 1)
    crowd.do("RPUSH", "l", "1")
    crowd.answer()
    crowd.do("SELECT", 0)
    crowd.do("RPUSH", "l", "2")
    crowd.answer("a")
    crowd.do("SELECT", 1)
    crowd.do("LRANGE", "l", 0, -1)


def test_a_fault_in_one_command_that_waits_is_its_own(
    harness: Harness, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault(s: Session, argv: list[bytes]) -> None:
        raise RuntimeError("what an angel would not do")

    faulty, other = harness.connect(), harness.connect()
    faulty("BLPOP", "l", 0)
    other("BRPOP", "l", 0)
    monkeypatch.setattr(COMMANDS[b"blpop"], "handler", fault)
    assert client.raw("RPUSH", "l", "v") == b":1\r\n"
    assert faulty.sent() == f"-{INTERNAL}\r\n".encode() and not faulty.session.blocked
    assert other.sent() == b"*2\r\n$1\r\nl\r\n$1\r\nv\r\n"
    assert "what an angel would not do" in caplog.text
