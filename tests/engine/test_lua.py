"""What a script cannot do: reach Python or another script's tables, take all memory, never end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes import Client, Harness

from ferrite_hooks.engine import lua as lua_module
from ferrite_hooks.engine.scripts import scripts
from ferrite_hooks.resp.reply import Encoded

NOT_THERE = ["python", "debug", "io", "package", "require", "module", "dofile", "loadfile", "print", "newproxy",
             "getfenv", "setfenv", "lupa", "py", "host"]  # fmt: skip


@pytest.mark.parametrize("name", NOT_THERE)
def test_what_is_not_there(client: Client, name: str) -> None:
    missing = f"Script attempted to access nonexistent global variable '{name}'"
    assert missing in client("EVAL", f"return {name}", 0).text
    assert missing in client("EVAL", f"return loadstring('return {name}')()", 0).text
    assert client("EVAL", f"return rawget(_G, '{name}')", 0) is None


# each must end in an error or return 'kept': none may get hold of something
ESCAPES = {
    "a callable has no attributes": "return redis.call.__globals__",
    "a callable has no items": "return redis.call['__globals__']",
    "a callable has no metatable": "return getmetatable(redis.call).__index",
    "a failed callable gives no exception object": (
        "local ok, e = pcall(redis.call, 'nope') if type(e) == 'string' then return 'kept' end"
    ),
    "nor one from a library": (
        "local ok, e = pcall(cjson.decode, '[') if type(e) == 'string' then return 'kept' end"
    ),
    "nor to xpcall": (
        "local _, kind = xpcall(function() redis.call('nope') end, function(e) return type(e) .. type(e.err) end)"
        " if kind == 'tablestring' then return 'kept' end return kind"
    ),
    "nor to a coroutine": (
        "local co = coroutine.create(function() redis.call('nope') end) local _, e = coroutine.resume(co)"
        " if type(e) == 'table' and type(e.err) == 'string' then return 'kept' end"
    ),
    "nor to a wrapped coroutine": (
        "local _, e = pcall(coroutine.wrap(function() cjson.decode('[') end))"
        " if type(e) == 'string' then return 'kept' end"
    ),
    "null has no attributes": "return cjson.null.__class__",
    "null cannot be called": "return cjson.null()",
    "null has no metatable": "if getmetatable(cjson.null) == nil then return 'kept' end",
    "bytecode is not loaded": "if loadstring(string.dump(function() end)) == nil then return 'kept' end",
    "nor in pieces": (
        "local code, i = string.dump(function() end), 0 local f = load(function() i = i + 1"
        " return i <= #code and code:sub(i, i) or nil end) if f == nil then return 'kept' end"
    ),
    "the real table does not come out of pairs": (
        "local f, s = pairs(string) if rawequal(s, string) then s.rep = 1 end"
    ),
    "nor out of next": "local k, v = next(_G) _G[k] = 1",
    "library tables are not inserted into": "table.insert(redis, 1)",
    "nor sorted": "table.sort(_G)",
    "nor removed from": "table.remove(string)",
    "nor given a metatable": "setmetatable(string, {})",
    "nor rawset": "rawset(redis, 'call', 1)",
    "strings keep their methods": "getmetatable('').__index = {}",
    "and those are read-only": "getmetatable('').__index.upper = nil",
    "the global metatable is read-only": "getmetatable(_G).__index = nil",
    "pcall is not replaced": "pcall = nil",
    "nor a function of a library": "math.random = nil",
    "garbage collection is not stopped": "if collectgarbage('stop') == 0 then return 'kept' end",
    "a Python object cannot be made": "return redis.call({}, redis.call)",
    "nor passed through an error": "error(redis.call)",
    "nor encoded": "return cjson.encode(redis.call)",
    "loaded code is in the sandbox too": "loadstring('x = 1')()",
    "format specifications reach nothing": "return ('%s'):format(redis.call) .. nil",
}


@pytest.mark.parametrize("script", ESCAPES.values(), ids=ESCAPES.keys())
def test_escapes(client: Client, script: str) -> None:
    reply = client("EVAL", script, 0)
    assert reply == b"kept" or reply.text.startswith("ERR "), reply
    kinds = "return type(redis.call) .. ('x'):upper() .. type(pcall) .. type(string.rep) .. type(math.random)"
    assert client("EVAL", kinds, 0) == b"functionXfunctionfunctionfunction"


def test_nothing_of_python_can_be_seen(client: Client) -> None:
    """Walks over everything that a script can reach: no userdata but null, no function that is not one."""
    walk = """
    local seen, queue, odd = {}, {_G, redis, string, table, math, coroutine, cjson, bit, cmsgpack, struct}, {}
    while #queue > 0 do
        local t = table.remove(queue)
        if not seen[t] then
            seen[t] = true
            for k, v in pairs(t) do
                local kind = type(v)
                if kind == 'table' then queue[#queue + 1] = v
                elseif kind == 'userdata' and not rawequal(v, cjson.null) or kind == 'thread' then odd[#odd + 1] = k end
                if kind == 'function' and tostring(v):find('builtin') then odd[#odd + 1] = k end
            end
        end
    end
    return odd
    """
    reply = client("EVAL", walk, 0)
    assert type(reply) is Encoded and reply.wire == b"*0\r\n"


def test_scripts_share_nothing(client: Client) -> None:
    client("EVAL", "KEYS.x = 1 ARGV.x = 1 rawset(KEYS, 'y', 1)", 1, "k")
    reply = client("EVAL", "return {tostring(KEYS.x), tostring(ARGV.x), tostring(KEYS.y)}", 0)
    assert reply.wire == b"*3\r\n" + b"$3\r\nnil\r\n" * 3


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    monkeypatch.setattr(lua_module, "MEMORY", 8 << 20)
    monkeypatch.setattr(lua_module, "_RESERVE", 1 << 20)
    yield Harness()


GREEDY = {
    "one string": "return ('x'):rep(1e9)",
    "doubling": "local s = 'x' while true do s = s .. s end",
    "a table": "local t = {} for i = 1, 1e9 do t[i] = i end",
    "caught": "local t = {} pcall(function() for i = 1, 1e9 do t[i] = {} end end) for i = 1, 1e9 do t[-i] = {} end",
    "through Python": "local t = {} for i = 1, 1e9 do t[i] = redis.call('get', 'large') .. i end",
    "encoded": "local t = {} for i = 1, 1e4 do t[i] = ('x'):rep(100) end local s = cjson.encode(t)"
    " for i = 1, 1e9 do t[i] = cjson.decode(s) end",
    "packed": "local s = ('x'):rep(1e6) local t = {} for i = 1, 40 do t[i] = s end return cmsgpack.pack(unpack(t))",
}


@pytest.mark.parametrize("script", GREEDY.values(), ids=GREEDY.keys())
def test_memory_is_bounded(little_memory: Harness, script: str) -> None:
    client = little_memory.client
    client("SET", "large", "x" * 100_000)
    assert "not enough memory" in client("EVAL", script, 0).text
    assert client("EVAL", "return ARGV[1]", 0, "still here") == b"still here"


def test_arguments_that_do_not_fit(little_memory: Harness) -> None:
    client = little_memory.client
    assert client("EVAL", "return 1", 0, "x" * (9 << 20)).text.startswith("OOM ")
    assert client("EVAL", "return 1", 0, *["x"] * 200_000).text.startswith("OOM ")
    assert client("EVAL", "return #ARGV", 0, *["x"] * 20_000) == 20_000


def test_deep_and_endless_values(client: Client) -> None:
    reply = client("EVAL", "local a = {} local b = {a} a[1] = b return a", 0)
    assert reply.wire.endswith(b"*1\r\n-ERR reached lua stack limit\r\n")
    assert "excessive nesting" in client("EVAL", "local t = {} t[1] = t return cjson.encode(t)", 0).text
    deep = "[" * 900 + "]" * 900
    assert client("EVAL", "return cjson.encode(cjson.decode(ARGV[1]))", 0, deep) == deep.replace("[]", "{}").encode()
    assert "too many nested" in client("EVAL", "return cjson.decode(ARGV[1])", 0, "[" * 100_000).text
    assert client("EVAL", "return cmsgpack.unpack(ARGV[1])", 0, b"\x91" * 100_000).text.startswith("ERR ")
    assert "stack overflow" in client("EVAL", "local function f() return 1 + f() end return f()", 0).text


def test_an_error_of_ours_is_not_the_scripts_to_catch(
    harness: Harness, client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ferrite_hooks.engine.command import COMMANDS

    def broken(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(COMMANDS[b"echo"], "handler", broken)
    assert client("EVAL", "pcall(redis.call, 'echo', 'x') return 1", 0).text.startswith("ERR internal error")
    assert "a bug" in caplog.text
    assert scripts(harness.engine).running is None and client("EVAL", "return 1", 0) == 1
