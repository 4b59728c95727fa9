"""A script's life: what is journaled, who it runs as, and how a long one is suspended and ended."""

from __future__ import annotations

import pytest
from fakes import Client, Harness

from ferrite_hooks.engine.command import COMMANDS
from ferrite_hooks.engine.scripts import scripts

LOOP = "while true do local x = 1 end"


def test_effects_are_its_commands(harness: Harness, client: Client) -> None:
    client("EVAL", "redis.call('set', 'a', 1) redis.call('select', 3) redis.call('incr', 'b') return 1", 0)
    client("EVAL", "redis.call('get', 'a')", 0)
    effects, _ = harness.engine.drain()
    assert effects == [
        [b"SELECT", b"0"], [b"set", b"a", b"1"], [b"SELECT", b"3"], [b"incr", b"b"],
    ]  # fmt: skip


def test_effects_before_an_error_stay(harness: Harness, client: Client) -> None:
    client("EVAL", "redis.call('set', 'a', 1) redis.call('nope') redis.call('set', 'b', 1)", 0)
    assert harness.effects() == [[b"set", b"a", b"1"]]
    assert client("GET", "a") == b"1"


def test_set_repl_keeps_effects_from_the_journal(harness: Harness, client: Client) -> None:
    client("EVAL", "redis.set_repl(redis.REPL_NONE) redis.call('set', 'a', 1) redis.set_repl(redis.REPL_ALL)"
                   " redis.call('set', 'b', 1)", 0)  # fmt: skip
    assert harness.engine.drain()[0] == [[b"SELECT", b"0"], [b"set", b"b", b"1"]]


def test_events_share_a_transaction_and_name_their_command(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("EVAL", "redis.call('set', 'a', 1) redis.call('lpush', 'l', 1)", 0)
    client("EVAL", "redis.call('set', 'a', 2)", 0)
    client("SET", "a", 3)
    _, changes = harness.engine.drain()
    assert [(change.event, change.command, change.client) for change in changes] == [
        ("set", "SET", client.session.id), ("lpush", "LPUSH", client.session.id),
        ("set", "SET", client.session.id), ("set", "SET", client.session.id),
    ]  # fmt: skip
    first, second, third, fourth = (change.transaction for change in changes)
    assert first == second != 0 and third not in (0, first) and fourth == 0


def test_events_inside_exec_share_its_transaction(harness: Harness, client: Client) -> None:
    harness.capture_all()
    client("MULTI")
    client("SET", "a", 1)
    client("EVAL", "redis.call('set', 'b', 1)", 0)
    client("SET", "c", 1)
    client("EXEC")
    _, changes = harness.engine.drain()
    assert len({change.transaction for change in changes}) == 1 and changes[0].transaction


def test_a_blocked_client_is_served_after_the_script(harness: Harness, client: Client) -> None:
    waiting = harness.connect()
    waiting("BLPOP", "l", 0)
    assert client("EVAL", "redis.call('rpush', 'l', 'a') return redis.call('llen', 'l')", 0) == 1
    assert waiting.sent() == b"*2\r\n$1\r\nl\r\n$1\r\na\r\n"


def test_watch_sees_a_script(harness: Harness, client: Client) -> None:
    watcher = harness.connect()
    watcher("WATCH", "k")
    client("EVAL", "redis.call('set', 'k', 1)", 0)
    watcher("MULTI")
    assert watcher.raw("EXEC") == b"*-1\r\n"


def test_runs_as_its_caller(harness: Harness, client: Client) -> None:
    client("ACL", "SETUSER", "limited", "on", "nopass", "~ok:*", "+@all", "-lpop", "&ok")
    client("SET", "ok:1", "v")
    limited = harness.connect()
    limited("AUTH", "limited", "x")
    assert limited("EVAL", "return redis.call('get', 'ok:1')", 0) == b"v"
    denied = "ERR The user executing the script can't "
    assert limited("EVAL", "return redis.call('get', 'other')", 0).text.startswith(denied + "access at least one of")
    assert limited("EVAL", "return redis.call('lpop', 'ok:1')", 0).text.startswith(denied + "run this command")
    assert limited("EVAL", "return redis.call('publish', 'c', 'x')", 0).text.startswith(denied + "publish to")
    assert limited("EVAL", "return redis.acl_check_cmd('get', 'other')", 0) is None
    assert limited("EVAL", "return redis.acl_check_cmd('get', 'ok:2')", 0) == 1
    assert b"$7\r\ncontext\r\n$3\r\nlua\r\n" in client.raw("ACL", "LOG")


def test_out_of_memory(harness: Harness, client: Client) -> None:
    harness.engine.over_memory = lambda: True
    harness.engine.refresh()
    oom = "OOM command not allowed when used memory > 'maxmemory'."
    assert client("EVAL", "return redis.call('set', 'k', 'v')", 0).text.startswith(oom)
    assert client("EVAL", "redis.call('del', 'k') return redis.call('set', 'k', 'v').ok", 0) == b"OK"
    assert client("EVAL", "return redis.call('get', 'k')", 0) == b"v"
    assert client("EVAL", "#!lua\nreturn 1", 0).text == oom
    assert client("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1
    assert client("EVAL", "#!lua flags=allow-oom\nreturn redis.call('set', 'k', 'w').ok", 0) == b"OK"


def test_journal_that_cannot_be_written(harness: Harness, client: Client) -> None:
    harness.engine.write_error = "no space"
    harness.engine.refresh()
    assert client("EVAL", "return redis.call('set', 'k', 'v')", 0).text.startswith("MISCONF ")
    assert client("EVAL", "return redis.call('get', 'k')", 0) is None
    assert client("EVAL", "#!lua\nreturn 1", 0).text.startswith("MISCONF ")
    assert client("EVAL", "#!lua flags=no-writes\nreturn 1", 0) == 1


def test_monitor_shows_the_script_and_its_commands(harness: Harness, client: Client) -> None:
    monitor = harness.connect()
    monitor("MONITOR")
    monitor.sent()
    client("EVAL", "redis.call('set', 'a', 1)", 0)
    shown = [line.split(b"] ", 1)[1] for line in monitor.sent().splitlines()]
    assert shown == [b'"EVAL" "redis.call(\'set\', \'a\', 1)" "0"', b'"set" "a" "1"']


def test_errors_are_counted_once(harness: Harness, client: Client) -> None:
    engine, failed = harness.engine, COMMANDS[b"eval"].failed
    client("EVAL", "return redis.call('lpop')", 0)
    assert (engine.error_replies, engine.errors) == (1, {"ERR": 1})
    assert COMMANDS[b"eval"].failed == failed + 1
    client("EVAL", "redis.pcall('select', 99) return 1", 0)
    assert engine.error_replies == 2
    client("EVAL", "return redis.pcall('select', 99)", 0)
    assert engine.error_replies == 3
    client("EVAL", "return {err = 'MINE x'}", 0)
    assert engine.errors == {"ERR": 3, "MINE": 1}


# -- long scripts --------------------------------------------------------------------------------------------


@pytest.fixture
def busy(harness: Harness) -> Harness:
    harness.client("CONFIG", "SET", "busy-reply-threshold", 1)
    return harness


def finish(harness: Harness, client: Client, turns: int = 10_000) -> bytes:
    """Lets the loop turn until a suspended script has answered."""
    for _ in range(turns):
        if client.session.blocked is None:
            break
        harness.advance(1)
    return client.sent()


def test_a_long_script_is_suspended_and_goes_on(busy: Harness) -> None:
    client, other = busy.client, busy.connect()
    client("EVAL", "local n = 0 for i = 1, 1e6 do n = n + 1 end redis.call('set', 'n', n) return n", 0)
    assert client.session.blocked is not None
    assert other("PING").text == (
        "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
    )
    assert other("FUNCTION", "STATS").text.startswith("BUSY ")
    assert finish(busy, client) == b":1000000\r\n"
    assert other("GET", "n") == b"1000000"


def test_kill(busy: Harness) -> None:
    client, other = busy.client, busy.connect()
    for script in (LOOP, f"while true do pcall(function() {LOOP} end) end", f"coroutine.wrap(function() {LOOP} end)()",
                   f"local co = coroutine.create(function() {LOOP} end) while true do coroutine.resume(co) end",
                   "while true do redis.call('get', 'k') end",
                   f"while true do xpcall(function() {LOOP} end, function() {LOOP} end) end"):  # fmt: skip
        client("EVAL", script, 0)
        assert other("FUNCTION", "KILL").text.startswith("BUSY ")
        assert other.raw("SCRIPT", "KILL") == b"+OK\r\n"
        assert b"-ERR Script killed by user with SCRIPT KILL... script: " in finish(busy, client)
        assert other("SCRIPT", "KILL").text == "NOTBUSY No scripts in execution right now."
        assert client("EVAL", "local n = 0 for i = 1, 100 do n = n + 1 end return n", 0) == 100


def test_a_script_that_has_written_is_not_killed(busy: Harness) -> None:
    client, other = busy.client, busy.connect()
    client("EVAL", "redis.call('set', 'k', 1) for i = 1, 1e6 do local x = i end return 'done'", 0)
    assert other("SCRIPT", "KILL").text.startswith("UNKILLABLE ")
    assert finish(busy, client) == b"$4\r\ndone\r\n"


def test_a_function(busy: Harness) -> None:
    client, other = busy.client, busy.connect()
    client("FUNCTION", "LOAD", f"#!lua name=lib\nredis.register_function('loop', function() {LOOP} end)")
    client("FCALL", "loop", 1, "key", "arg")
    stats = other("FUNCTION", "STATS")["running_script"]
    assert stats["name"] == b"loop" and stats["command"] == [b"FCALL", b"loop", b"1", b"key", b"arg"]
    assert other("PING").text.endswith("FUNCTION KILL or SHUTDOWN NOSAVE.")
    assert other("SCRIPT", "KILL").text.startswith("BUSY ")
    assert other.raw("FUNCTION", "KILL") == b"+OK\r\n"
    assert b"Script killed by user" in finish(busy, client)
    assert other("FUNCTION", "STATS")["running_script"] is None


def test_nothing_of_a_suspended_script_is_journaled_before_it_ends(busy: Harness) -> None:
    client, engine = busy.client, busy.engine
    busy.capture_all()
    client("SET", "before", 1)
    client("EVAL", "redis.call('set', 'a', 1) for i = 1, 5e5 do local x = i end redis.call('select', 2)"
                   " redis.call('set', 'b', 1) for i = 1, 5e5 do local x = i end"
                   " redis.call('set', 'c', 1)", 0)  # fmt: skip
    assert client.session.blocked is not None
    effects, changes = engine.drain()
    assert effects == [[b"SELECT", b"0"], [b"SET", b"before", b"1"]] and len(changes) == 1
    asked = 0

    def on_pending() -> None:
        nonlocal asked
        asked += 1

    engine.on_pending = on_pending
    while client.session.blocked is not None:
        assert engine.effects == engine.changes == [] and client.session.db.index == 0
        busy.advance(1)
    assert asked
    effects, changes = engine.drain()
    assert effects == [
        [b"SELECT", b"0"], [b"set", b"a", b"1"], [b"SELECT", b"2"], [b"set", b"b", b"1"], [b"set", b"c", b"1"],
    ]  # fmt: skip
    assert len({change.transaction for change in changes}) == 1 and changes[0].transaction
    client("SET", "after", 1)
    assert engine.drain()[1][0].transaction == 0


def test_its_time_stands_still(busy: Harness) -> None:
    client = busy.client
    client("SET", "k", "v", "PX", 3)
    client("EVAL", "local t = redis.call('pttl', 'k') for i = 1, 1e7 do local x = i end"
                   " return t - redis.call('pttl', 'k')", 0)  # fmt: skip
    assert client.session.blocked is not None
    busy.advance(100)
    assert b"k" in busy.engine.databases[0].data
    assert finish(busy, client) == b":0\r\n"
    busy.advance(200)
    assert busy.engine.databases[0].data == {}


def test_its_client_may_leave(busy: Harness) -> None:
    from ferrite_hooks.engine.blocking import unblock

    client, other = busy.connect(), busy.connect()
    client("EVAL", "for i = 1, 1e6 do local x = i end redis.call('set', 'k', 'v')", 0)
    unblock(client.session)
    busy.engine.forget(client.session)
    for _ in range(10_000):
        if not busy.engine.busy:
            break
        busy.advance(1)
    assert other("GET", "k") == b"v" and client.sent() == b""


def test_a_failing_long_script_answers(busy: Harness) -> None:
    client = busy.client
    client("EVAL", "for i = 1, 1e6 do local x = i end return redis.call('nope')", 0)
    assert finish(busy, client).startswith(b"-ERR Unknown Redis command called from script script: ")
    client("EVAL", "for i = 1, 1e6 do local x = i end error('late')", 0)
    assert finish(busy, client).startswith(b"-ERR user_script:1: late script: ")


def test_inside_exec_it_is_not_suspended_but_ended(busy: Harness) -> None:
    client = busy.client
    client("MULTI")
    client("EVAL", LOOP, 0)
    client("SET", "k", "v")
    client("EVAL", "for i = 1, 1e6 do local x = i end return 'done'", 0)
    ended, stored, _ = client("EXEC")
    assert ended.text.startswith("ERR Script ended: it has taken too long") and stored.text == b"OK"
    assert client("GET", "k") == b"v" and scripts(busy.engine).running is None


def test_a_threshold_of_zero_never_suspends(harness: Harness, client: Client) -> None:
    client("CONFIG", "SET", "busy-reply-threshold", 0)
    assert client("EVAL", "local n = 0 for i = 1, 1e6 do n = n + 1 end return n", 0) == 1000000


@pytest.mark.parametrize("source, brief", [
    ("if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end", True),
    ("return string.format('%d', 1)", True),
    ("for i = 1, 2 do end", False),
    ("local f = function() return f() end", False),
    ("return loadstring('return 1')()", False),
    ("return 1" + " " * 5000, False),
])  # fmt: skip
def test_brief_scripts_are_known_by_their_words(harness: Harness, source: str, brief: bool) -> None:
    assert scripts(harness.engine).load(source.encode(), keep=False).brief is brief


def test_a_brief_script_that_lasts_in_spite_of_it_is_ended(busy: Harness) -> None:
    sly = "return _G['lo' .. 'adstring']('whi' .. 'le true do end')()"
    assert scripts(busy.engine).load(sly.encode(), keep=False).brief
    assert busy.client("EVAL", sly, 0).text.startswith("ERR Script ended: it has taken too long")
    assert scripts(busy.engine).running is None and busy.client("EVAL", "return 1", 0) == 1


def test_its_time_begins_when_it_does(harness: Harness, client: Client) -> None:
    client("MULTI")
    client("EVAL", "for i = 1, 1e6 do local x = i end return 'done'", 0)
    harness.engine.lap = 0.0  # nothing has run for long
    assert client("EXEC") == [b"done"]
