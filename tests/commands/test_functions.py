"""FUNCTION and FCALL, compared with redis-server; the libraries across a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.command import find
from ferrite_hooks.engine.libraries import libraries
from ferrite_hooks.engine.run import call
from ferrite_hooks.engine.session import Session


@pytest.fixture
def both(harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    oracle("FUNCTION", "FLUSH")
    pair = Pair(oracle, harness)
    yield pair
    pair.close()


def library(name: str, body: str) -> str:
    return f"#!lua name={name}\n{body}"


def function(body: str, name: str = "f", lib: str = "lib", flags: str = "") -> str:
    listed = ", ".join(f"'{flag}'" for flag in flags.split())
    callback = f"function(keys, args) {body} end"
    return library(lib, f"redis.register_function{{function_name='{name}', flags={{{listed}}}, callback={callback}}}")


BODIES = """
return 1
return {keys, args}
return #keys + #args
return redis.call('set', keys[1], args[1])
return redis.call('nope')
return redis.call('set')
return foo
return KEYS
return ARGV
x = 1
error('x')
error({err = 'MY words'})
return {pcall(redis.call, 'nope')}
return redis.register_function
return redis.breakpoint
return redis.replicate_commands
return {type(string), type(cjson), type(math), type(redis.call), type(redis.log)}
redis.setresp(3) return redis.call('hgetall', 'nope')
return cjson.encode({1, {a = 2}})
redis.register_function('g', function() end)
""".strip().splitlines()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", ["FCALL", "FCALL_RO"])
def test_call(both: Pair, body: str, name: str) -> None:
    both.check("FUNCTION", "LOAD", function(body, flags="no-writes" if name == "FCALL_RO" else ""))
    both.check(name, "f", 1, "key", "arg")


@pytest.mark.parametrize("flags", ["", "no-writes", "allow-oom", "no-writes allow-stale", "no-cluster"])
def test_flags(both: Pair, flags: str) -> None:
    both.check("FUNCTION", "LOAD", function("return redis.call('set', 'k', 'v')", flags=flags))
    both.check("FCALL", "f", 0)
    both.check("FCALL_RO", "f", 0)
    both.check("FUNCTION", "LIST", unordered=True)


LOADS = [
    "", "x", "#!lua", "#!lua\n", "#!lua name=x", "#!py name=x\n1", "#!lua foo=x\n1", "#!lua name=a name=b\n1",
    "#!lua name=a-b\n1", "#!lua name=\n1", "#!LUA name=x\nredis.register_function('f', function() end)",
    *[library("x", body) for body in [
        "", "local a = 1", "return )", "error('x')", "local s = string.format('a')", "redis.call('get')", "x = 1",
        "redis.register_function('f')", "redis.register_function()", "redis.register_function('f', 1)",
        "redis.register_function('f', function() end, 1)", "redis.register_function({}, function() end)",
        "redis.register_function('f-1', function() end)", "redis.register_function('', function() end)",
        "redis.register_function('f', function() end) redis.register_function('f', function() end)",
        "redis.register_function{function_name='f'}", "redis.register_function{callback=function() end}",
        "redis.register_function{function_name={}, callback=function() end}",
        "redis.register_function{function_name='f', callback=1}",
        "redis.register_function{function_name='f', callback=function() end, description={}}",
        "redis.register_function{function_name='f', callback=function() end, flags=1}",
        "redis.register_function{function_name='f', callback=function() end, flags={1}}",
        "redis.register_function{function_name='f', callback=function() end, flags={'x'}}",
        "redis.register_function{function_name='f', callback=function() end, x=1}",
        "redis.register_function{function_name='f', callback=function() end, [{}]=1}",
        "redis.register_function{FUNCTION_NAME='f', Callback=function() end, Flags={'NO-WRITES'}}",
        "redis.log(redis.LOG_DEBUG, 'x') redis.register_function('f', function() end)",
        "redis.setresp(3)", "redis.x = 1",
        "local n = 0 redis.register_function('f', function() n = n + 1 return n end)",
    ]],
]  # fmt: skip


@pytest.mark.parametrize("source", LOADS)
def test_load(both: Pair, source: str) -> None:
    both.check("FUNCTION", "LOAD", source)
    both.check("FCALL", "f", 0)
    both.check("FCALL", "f", 0)
    both.check("FUNCTION", "LIST", "WITHCODE")
    both.check("FUNCTION", "STATS")


def test_libraries(both: Pair) -> None:
    both.check("FUNCTION", "LOAD", function("return 1"))
    both.check("FUNCTION", "LOAD", function("return 2"))
    both.check("FUNCTION", "LOAD", "REPLACE", function("return 2"))
    both.check("FCALL", "f", 0)
    both.check("FUNCTION", "LOAD", function("return 3", lib="other"))
    both.check("FUNCTION", "LOAD", function("return 3", name="g", lib="other"))
    both.check("FUNCTION", "LOAD", "replace", function("return 3", name="g"))
    both.check("FCALL", "f", 0)
    both.check("FUNCTION", "LOAD", "REPLACE", "REPLACE", function("return )"))
    both.check("FCALL", "f", 0)
    both.check("FUNCTION", "LOAD", "nope", function("return 1"))
    both.check("FUNCTION", "LIST", "LIBRARYNAME", "o*")
    both.check("FUNCTION", "LIST", "LIBRARYNAME", "nope", "WITHCODE")
    both.check("FUNCTION", "LIST", "WITHCODE", "WITHCODE")
    both.check("FUNCTION", "LIST", "LIBRARYNAME")
    both.check("FUNCTION", "LIST", "nope")
    both.check("FUNCTION", "STATS")
    both.check("FUNCTION", "DELETE", "nope")
    both.check("FUNCTION", "DELETE", "lib")
    both.check("FCALL", "f", 0)
    both.check("FUNCTION", "FLUSH", "nope")
    both.check("FUNCTION", "FLUSH", "sync", "x")
    both.check("FUNCTION", "FLUSH", "async")
    both.check("FUNCTION", "LIST")
    both.check("FUNCTION", "KILL")
    both.check("FUNCTION", "nope")
    both.check("FUNCTION")


def test_arguments(both: Pair) -> None:
    both.check("FUNCTION", "LOAD", function("return {keys, args}"))
    for words in (["f"], ["nope", 0], ["f", "x"], ["f", -1], ["f", 1], ["f", 0], ["f", 2, "a", "b", "c"]):
        both.check("FCALL", *words)
        both.check("FCALL_RO", *words)
    both.check("FUNCTION", "LOAD")
    both.check("FCALL", "f", 5, *[str(i) for i in range(1000)])


def test_dump_goes_both_ways(both: Pair) -> None:
    both.check("FUNCTION", "LOAD", function("return 'long enough to be compressed' .. '" + "x" * 500 + "'"))
    theirs, ours = both.oracle("FUNCTION", "DUMP"), both.ours("FUNCTION", "DUMP")
    payload = theirs.split(b"\r\n", 1)[1][:-2]
    for dump in (payload, ours):
        both.check("FUNCTION", "RESTORE", dump)
        both.check("FUNCTION", "RESTORE", dump, "REPLACE")
        both.check("FUNCTION", "RESTORE", dump, "FLUSH")
        both.check("FUNCTION", "DELETE", "lib")
        both.check("FUNCTION", "RESTORE", dump, "APPEND")
        both.check("FCALL", "f", 0)
        both.check("FUNCTION", "DELETE", "lib")
        both.check("FUNCTION", "LOAD", function("return 1", lib="other"))
        both.check("FUNCTION", "RESTORE", dump)
        both.check("FUNCTION", "RESTORE", dump, "REPLACE")
        both.check("FCALL", "f", 0)
        both.check("FUNCTION", "RESTORE", dump, "FLUSH")
    both.check("FUNCTION", "RESTORE", ours, "nope")
    both.check("FUNCTION", "RESTORE", ours, "FLUSH", "x")
    both.check("FUNCTION", "RESTORE", "abc")
    both.check("FUNCTION", "RESTORE", ours[:-1] + b"x")
    both.check("SET", "k", "v")
    both.check("FUNCTION", "RESTORE", both.ours("DUMP", "k"))


def test_what_changes_libraries_is_replayed(harness: Harness, client: Client) -> None:
    client("FUNCTION", "LOAD", function("return 1"))
    client("FUNCTION", "LOAD", "REPLACE", function("return 2"))
    client("FUNCTION", "LOAD", function("return redis.call('set', 'k', 'v')", name="g", lib="other"))
    dump = client("FUNCTION", "DUMP")
    client("FUNCTION", "DELETE", "lib")
    client("FUNCTION", "RESTORE", dump, "REPLACE")
    client("FUNCTION", "LOAD", function("return )"))
    client("FCALL", "g", 0)
    effects = harness.effects()
    assert [effect[1] for effect in effects] == [b"LOAD", b"LOAD", b"LOAD", b"DELETE", b"RESTORE", b"k"]
    restarted = Harness()
    restarted.engine.loading = True
    loader = Session(restarted.engine)
    loader.internal = True
    for effect in effects:
        call(loader, find(effect), effect)
    restarted.engine.loading = False
    assert restarted.client("FCALL", "f", 0) == 2 and restarted.client("GET", "k") == b"v"
    assert libraries(restarted.engine).sources() == libraries(harness.engine).sources()


def test_a_body_that_does_not_end(client: Client) -> None:
    assert client("FUNCTION", "LOAD", library("x", "while true do end")).text == (
        "ERR Error registering functions: ERR FUNCTION LOAD timeout"
    )
    client("FUNCTION", "LOAD", function("local n = 0 for i = 1, 300000 do n = n + 1 end return n"))
    assert client("FCALL", "f", 0) == 300000


@pytest.mark.parametrize(
    "name", ["FCALL", "FCALL_RO", "FUNCTION|LOAD", "FUNCTION|LIST", "FUNCTION|DUMP", "FUNCTION|RESTORE",
             "FUNCTION|STATS", "FUNCTION|KILL", "FUNCTION|FLUSH", "FUNCTION|DELETE", "FUNCTION|HELP"],
)  # fmt: skip
def test_command_facts(both: Pair, name: str) -> None:
    def facts(reply: bytes) -> set[bytes]:
        return {line for line in reply.split(b"\r\n") if line[:1] in b"+:"}

    ours, theirs = both.ours.raw("COMMAND", "INFO", name), both.oracle("COMMAND", "INFO", name)
    assert facts(ours) == facts(theirs)
