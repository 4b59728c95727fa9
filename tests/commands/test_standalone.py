"""What is said of replicas, clusters and modules, next to redis-server."""

from __future__ import annotations

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair, Word

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.errors import ReplyError


@pytest.mark.parametrize("words", [
    ("ASKING",), ("READONLY",), ("READWRITE",), ("READONLY", "x"), ("CLUSTER",), ("CLUSTER", "HELP"),
    ("CLUSTER", "INFO"), ("CLUSTER", "KEYSLOT", "k"),
    ("CLUSTER", "RESET", "HARD"), ("CLUSTER", "MEET", "h"), ("CLUSTER", "NOPE"),
    ("REPLCONF",), ("REPLCONF", "x"), ("REPLCONF", "x", "y"), ("REPLCONF", "capa", "eof", "listening-port", 1),
    ("PSYNC", "?"), ("MODULE", "LIST"), ("MODULE", "LOAD"), ("MODULE", "NOPE"),
    ("MIGRATE", "127.0.0.1", 1, "none", 0, 0), ("MIGRATE", "127.0.0.1", 1, "", 0, 0, "KEYS", "none", "none2"),
    ("COMMAND", "GETKEYS", "MIGRATE", "h", 1, "k", 0, 0),
    ("COMMAND", "GETKEYS", "MIGRATE", "h", 1, "", 0, 0, "KEYS", "a", "b"),
    ("COMMAND", "GETKEYS", "EVAL", "return 1", 0), ("COMMAND", "GETKEYSANDFLAGS", "SET", "k", "v"),
    ("COMMAND", "GETKEYSANDFLAGS", "SET", "k", "v", "get"),
    ("COMMAND", "GETKEYSANDFLAGS", "BITFIELD", "k", "GET", "u8", 0),
    ("COMMAND", "GETKEYSANDFLAGS", "BITFIELD", "k", "INCRBY", "u8", 0, 1),
])  # fmt: skip
def test_answers_are_those_of_redis(harness: Harness, oracle: Oracle, words: tuple[Word, ...]) -> None:
    both = Pair(oracle, harness)
    both.check(*words)
    both.close()


@pytest.mark.parametrize("words", [
    ("SYNC",), ("PSYNC", "?", -1), ("MODULE", "LOAD", "x"), ("MODULE", "UNLOAD", "x"), ("REPLICAOF", "h", 1),
    ("MIGRATE", "127.0.0.1", 1, "k", 0, 0),
])  # fmt: skip
def test_what_cannot_be_done_is_refused(client: Client, words: tuple[Word, ...]) -> None:
    client("SET", "k", "v")
    assert type(client(*words)) is ReplyError
    assert client("GET", "k") == b"v"


def test_every_cluster_command_is_disabled(client: Client) -> None:
    for made in COMMANDS[b"cluster"].subcommands.values():
        reply = client(*made.name.split("|"), *["1"] * (made.min_words - 2))
        assert "cluster support disabled" in reply.text


@pytest.mark.parametrize("words", [
    ("SET", "k", "new"), ("GET", "k"), ("EVAL", "return redis.call('set', KEYS[1], 'x')", 1, "k"), ("PING",),
    ("EVAL", "#!lua\nreturn 1", 0), ("EVAL", "#!lua flags=no-writes\nreturn 1", 0),
])  # fmt: skip
def test_writes_that_want_replicas_are_refused(harness: Harness, oracle: Oracle, words: tuple[Word, ...]) -> None:
    both = Pair(oracle, harness)
    both.check("CONFIG", "SET", "min-replicas-to-write", 1)
    both.check(*words)
    both.check("MULTI")
    both.check(*words)
    both.check("EXEC")
    both.check("CONFIG", "SET", "min-replicas-to-write", 0)
    both.check("SET", "k", "v")
    both.close()


def test_the_passwords_of_migrate_are_hidden(client: Client) -> None:
    client("CONFIG", "SET", "slowlog-log-slower-than", 0)
    for words in (("AUTH", "secret"), ("AUTH2", "user", "secret")):
        client("MIGRATE", "127.0.0.1", 1, "none", 0, 0, *words)
        assert client("SLOWLOG", "GET", 1)[0][3][6:] == [words[0].encode(), *[b"(redacted)"] * (len(words) - 1)]
