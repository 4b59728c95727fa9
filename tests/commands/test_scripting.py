"""EVAL and the script cache, compared with redis-server: replies, conversions, errors, the sandbox, effects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes import Client, Harness
from oracle import Oracle, Pair

from ferrite_hooks.engine.scripts import EVALUATED_MAX, scripts
from ferrite_hooks.resp.reply import NO_REPLY


@pytest.fixture
def both(harness: Harness, oracle: Oracle) -> Iterator[Pair]:
    oracle("SCRIPT", "FLUSH")
    pair = Pair(oracle, harness)
    yield pair
    pair.close()


VALUES = """
return 1
return -1.9
return 1e300
return 2^53
return 0/0
return 'x'
return ''
return 'a\\0b'
return true
return false
return nil
return
return {}
return {1, 2, {3, 'four', {}}}
return {1, nil, 3}
return {true, false}
return {1.9, -1.9}
return {ok = 'fine'}
return {ok = 'two\\nlines'}
return {err = 'MY error'}
return {err = 'word'}
return {1, {err = 'inside it'}, {ok = 'x'}}
return {a = 1}
return {double = 3.5}
return {double = 1/0}
return {double = -1/0}
return {double = 10}
return {map = {a = 1}}
return {set = {a = true}}
return {set = {}}
return {map = {}}
return {big_number = '123456789012345678901234567890'}
return {big_number = '12\\r\\n3'}
return {verbatim_string = {format = 'txt', string = 'hello'}}
return {verbatim_string = {format = 'txt'}}
return function() end
return {1, function() end, 2}
return redis.error_reply('MY error')
return redis.error_reply('word')
return redis.error_reply('-MY error')
return redis.error_reply('-word')
return redis.error_reply({})
return redis.error_reply('a', 'b')
return redis.status_reply('fine')
return redis.status_reply(1)
return redis.sha1hex('abc')
return redis.sha1hex(123)
return KEYS
return #ARGV
return redis.REDIS_VERSION
return redis.REDIS_VERSION_NUM
return {redis.REPL_NONE, redis.REPL_AOF, redis.REPL_SLAVE, redis.REPL_REPLICA, redis.REPL_ALL}
return {redis.LOG_DEBUG, redis.LOG_VERBOSE, redis.LOG_NOTICE, redis.LOG_WARNING}
return redis.replicate_commands()
return redis.breakpoint()
return redis.debug('a')
return {redis.acl_check_cmd('get', 'k'), redis.acl_check_cmd('set', 'k', 'v')}
return redis.foo
return redis.setresp(3) == nil
return type(redis.call)
return {type(string), type(cjson.null), type(_G), _VERSION}
return math.random(10) <= 10
math.randomseed(7) return {math.random(1000), math.random(1000), math.random(5, 9), tostring(math.random())}
math.randomseed(-1) return {math.random(1000000), math.random(1000000)}
return {pcall(error, 'x')}
return {pcall(error, {err = 'x'})}
return {pcall(redis.call, 'nope')}
return {pcall(redis.call, 'get', 'wrongtype')}
return {xpcall(function() error({a = 1}) end, function(e) return e.a end)}
return {xpcall(function() return redis.call('nope') end, function(e) return e.err end)}
return redis.pcall('nope')
return redis.pcall('nope').err
local co = coroutine.create(function() coroutine.yield(1) error('x') end) \
 return {coroutine.resume(co), select(2, coroutine.resume(co)), coroutine.status(co)}
local f = coroutine.wrap(function() coroutine.yield(redis.call('incr', 'n')) return 'end' end) return {f(), f()}
return loadstring('return 1 + 1')()
return load(function() return nil end) == nil
local parts = {'return ', '5'} local i = 0 return load(function() i = i + 1 return parts[i] end)()
return {string.rep('ab', 3), ('x'):upper(), string.format('%5.2f|%d|%s', 1.234, 3, 'z')}
local t = {3, 1, 2} table.sort(t) return t
local t = {} for k, v in pairs({a = 1}) do t[#t + 1] = k t[#t + 1] = v end return t
local t = {} for k, v in ipairs({5, 6}) do t[#t + 1] = v end return t
return {next({}), next({7})}
return {select('#', 1, 2), unpack({1, 2, 3})}
return {tostring(1.5), tostring(1e15), tostring(123456789012345678), tonumber('0x10')}
""".strip().replace("\\\n", "").splitlines()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("script", VALUES)
def test_values(harness: Harness, oracle: Oracle, script: str, resp: int) -> None:
    oracle("HELLO", 2)
    both = Pair(oracle, harness, resp)
    both.check("SET", "n", 1)
    both.check("RPUSH", "wrongtype", "a")
    both.check("EVAL", script, 1, "a key", "an arg")
    both.check("EVAL", "redis.setresp(3) " + script, 1, "a key", "an arg")
    both.close()


ERRORS = """
error('x')
error('x', 0)
error({err = 'MY words'})
error({err = 'word'})
return redis.call()
return redis.call({})
return redis.call('nope')
return redis.call('config', 'nope')
return redis.call('config')
return redis.call('get')
return redis.call('get', 'wrongtype')
return redis.call('get', true)
return redis.call('subscribe', 'a')
return redis.call('multi')
return redis.call('eval', 'return 1', 0)
return redis.call('subscribe', 'nope')
return redis.pcall('get', 'wrongtype')
redis.pcall('get', 'wrongtype')
return redis.sha1hex()
return redis.setresp(4)
return redis.setresp()
return redis.set_repl()
return redis.set_repl(99)
return redis.set_repl(0)
return redis.log()
return redis.log('a', 'b')
return redis.log(7, 'b')
return redis.log(0, 'b')
return redis.acl_check_cmd()
return redis.acl_check_cmd('nope')
return redis.acl_check_cmd('get', {})
a = 1
KEYS = 1
redis = 1
return a
return print
return loadfile
return dofile
return require
return io
return package
return debug
return newproxy
return getfenv
return python
string.x = 1
string.rep = nil
redis.call = 1
cjson.encode = 1
bit.x = 1
cmsgpack.x = 1
struct.x = 1
_G.x = 1
setmetatable(_G, {})
setmetatable(redis, {})
rawset(_G, 'x', 1)
rawset(string, 'x', 1)
table.insert(string, 1)
getmetatable('').__index = 1
getmetatable(_G).__index = 1
getmetatable(_G).x = function() end
local x = nil; x.y = 1
return 3 .. nil
return nil + 1
return {} < {}
local function f() error('deep') end f()
local function f() return redis.call('nope') end local x = f()
for i = 1, 3 do if i == 2 then error('two') end end
error('line')
cjson.encode(function() end)
loadstring(string.dump(function() return 1 end))()
return )
return 'unfinished
pcall(function() error('swallowed') end) error('not swallowed')
""".strip().splitlines() + ["\n\nerror('third line')", "local x = 1\nredis.call('nope')", "return redis.call(\n'nope')"]


@pytest.mark.parametrize("script", ERRORS)
def test_errors(both: Pair, script: str) -> None:
    both.check("RPUSH", "wrongtype", "a")
    both.check("EVAL", script, 0)


# what these are differs from redis-server on purpose, or crashes it
def test_errors_of_our_own(client: Client) -> None:
    assert client("EVAL", "error({})", 0).text.startswith("ERR unknown error script: ")
    assert client("EVAL", "return tostring(cjson.null)", 0).startswith(b"userdata: ")
    assert client("EVAL", "return collectgarbage('stop')", 0) == 0
    assert type(client("EVAL", "return os.clock() * 1000", 0)) is int


CALLS = """
return redis.call('get', 'string')
return redis.call('get', 'nope')
return redis.call('lrange', 'list', 0, -1)
return redis.call('lpop', 'nope')
return redis.call('mget', 'string', 'nope')
return redis.call('hgetall', 'hash')
return redis.call('smembers', 'set')
return redis.call('zrange', 'zset', 0, -1, 'withscores')
return redis.call('zscore', 'zset', 'a')
return redis.call('zscore', 'zset', 'nope')
return redis.call('sismember', 'set', 'a')
return redis.call('incr', 'number')
return redis.call('incrbyfloat', 'number', 0.1)
return redis.call('set', 'x', 3.3) == nil
return redis.call('set', 'x', 10000000000000000000)
return redis.call('ping')
return redis.call('type', 'list').ok
return redis.call('exists', 'string', 'nope')
return redis.call('echo', 'a\\0b')
return redis.call('select', 1)
return redis.call('lmove', 'nope', 'x', 'left', 'left')
return redis.call('xread', 'streams', 'nope', 0)
return redis.call('xread', 'block', 0, 'streams', 'nope', 0)
return redis.call('xrange', 'stream', '-', '+')
return redis.call('hrandfield', 'nope', 1)
return type(redis.call('get', 'nope'))
return type(redis.call('zscore', 'zset', 'nope'))
return {redis.call('get', 'string'), redis.call('get', 'nope'), redis.call('get', 'string')}
return redis.call('command', 'count') > 0
return redis.call('bitfield', 'string', 'get', 'u8', 0)
return redis.call('geopos', 'nope', 'a')
local t = redis.call('hgetall', 'hash') if t.map then return {t.map.f, t.map.g} end return t
local t = redis.call('zscore', 'zset', 'a') if type(t) == 'table' then return tostring(t.double) end return t
local t = redis.call('smembers', 'set') if t.set then return {tostring(t.set.a), tostring(t.set.b)} end return t
""".strip().splitlines()


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("script", CALLS)
def test_calls(harness: Harness, oracle: Oracle, script: str, resp: int) -> None:
    oracle("HELLO", 2)
    both = Pair(oracle, harness, resp)
    for line in (
        "SET string value", "SET number 10", "RPUSH list a b", "HSET hash f 1", "SADD set a", "ZADD zset 1.5 a",
        "XADD stream 1-1 f v",
    ):  # fmt: skip
        both.check(*line.split())
    both.check("EVAL", script, 0)
    both.check("EVAL", "redis.setresp(3) " + script, 0)
    both.close()


JSON = r"""
return cjson.encode({1, 2, 3})
return cjson.encode({})
return cjson.encode({a = 1})
return cjson.encode({[1] = 1, [2] = 2, [4] = 4})
return cjson.encode({[1] = 1, [30] = 2})
return cjson.encode({[1.5] = 1})
return cjson.encode({[true] = 1})
return cjson.encode({cjson.null, false, true})
return cjson.encode('"\\/\b\f\n\r\t\0\1\127é')
return cjson.encode({1.5, 1e100, 0.1, 100000000000000, 1000000000000000, 12345678901234567, -0.5})
return cjson.encode(0/0)
return cjson.encode(1/0)
return cjson.encode(nil)
return cjson.encode()
return cjson.encode(1, 2)
return cjson.encode({function() end})
return cjson.encode({{{}}})
local t = {} t[1] = t return cjson.encode(t)
return cjson.encode(cjson.decode('{"a":[1,2,{"b":null}],"c":"d"}').a)
return cjson.encode(cjson.decode('[[],{},"",0,-1,1.5e3,true,false,null]'))
return cjson.decode('{"a":{"b":[1,2]}}').a.b
return cjson.decode('"\\u00e9\\ud83d\\ude00\\n\\/"')
return cjson.decode(' [ 1 , 2 ] ')
return cjson.decode('5')
return cjson.decode('"x"')
return tostring(cjson.decode('12345678901234567890'))
return tostring(cjson.decode('0x10'))
return tostring(cjson.decode('nan')) ~= ''
return cjson.decode('null') == cjson.null
return cjson.decode(12)
return cjson.decode()
return cjson.decode({})
return cjson.decode('')
return cjson.decode('[')
return cjson.decode('[1,')
return cjson.decode('[1,]')
return cjson.decode('[1 2]')
return cjson.decode('{')
return cjson.decode('{1}')
return cjson.decode('{"a"}')
return cjson.decode('{"a":}')
return cjson.decode('{"a":1 "b"}')
return cjson.decode('{"a":1,}')
return cjson.decode('"abc')
return cjson.decode('"\\x"')
return cjson.decode('"\\ud800"')
return cjson.decode('"\\u12"')
return cjson.decode('tru')
return cjson.decode('[1] x')
return cjson.decode('\0\0')
return cjson.decode('@')
return cjson.decode('-')
return cjson.decode('.5')
return cjson.encode(cjson.decode('1.0'))
""".strip().splitlines()

LIBRARIES = r"""
return cmsgpack.pack(1, -1, 127, 128, 255, 256, 65535, 65536, 4294967296, -32, -33, -128, -129, -32769, -2147483649)
return cmsgpack.pack(1.5, 0.1, 1e300, 1/0)
return cmsgpack.pack('', 'abc', ('x'):rep(40), ('x'):rep(300))
return cmsgpack.pack(true, false, nil, {})
return cmsgpack.pack({1, 2, {3}}, {a = 'b'}, {[1] = 1, [3] = 3})
return cmsgpack.pack()
return {cmsgpack.unpack(cmsgpack.pack(1, 'a', {1, 2}, true))}
return cmsgpack.unpack(cmsgpack.pack({a = {b = {1, 2.5}}})).a.b
return tostring(cmsgpack.unpack(cmsgpack.pack(18446744073709551615)))
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3))}
return {cmsgpack.unpack_one(cmsgpack.pack(1, 2, 3), 1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1, 2, 3), 2, 1)}
return {cmsgpack.unpack_limit('', 1, 0)}
return cmsgpack.unpack('\147\1')
return cmsgpack.unpack('\217')
return cmsgpack.unpack('\193')
return cmsgpack.unpack_one('abc', 9)
return cmsgpack.unpack_one('abc', -1)
return cmsgpack.unpack({})
return cmsgpack.unpack('')
local a = {} local t = a for i = 1, 20 do t[1] = {} t = t[1] end return cmsgpack.pack(a)
return struct.pack('<ihlbBHL', 1, -2, 3, -4, 5, 6, 7)
return struct.pack('>ihlbBHLT', 1, -2, 3, -4, 5, 6, 7, 8)
return struct.pack('>I3i7I1', 258, -1, 255)
return struct.pack('<fd>fd', 1.5, 2.5, 1.5, 2.5)
return struct.pack('sc3c0', 'abc', 'defgh', 'ij')
return struct.pack('!4bi!8bd', 1, 2, 3, 4)
return struct.pack('bxb', 1, 2)
return struct.pack('c5', 'abc')
return struct.pack('i', 'x')
return struct.pack('i')
return struct.pack('z', 1)
return struct.pack('i33', 1)
return struct.pack('!3i', 1)
return struct.pack('i99999999999', 1)
return struct.pack(1, 2)
return {struct.unpack('<ihs', struct.pack('<ihs', 1, -2, 'abc'))}
return {struct.unpack('<bBhHiIlL', struct.pack('<bBhHiIlL', -1, 255, -2, 65535, -3, 4, -5, 6))}
return {struct.unpack('c3bc0', 'abc\2xyz')}
return {struct.unpack('>I2', 'abcdef', 3)}
return {struct.unpack('i', 'a')}
return {struct.unpack('s', 'abc')}
return {struct.unpack('c0', 'abc')}
return {struct.unpack('i', 'abcd', 0)}
return {struct.unpack('bc0', '\9abc')}
return {struct.size('ihl!8bd'), struct.size('>I3')}
return struct.size('s')
return struct.size('c0')
return {bit.tobit(2^32), bit.tobit(2^31), bit.tobit(-1), bit.tobit(1.5), bit.tobit(2.5)}
return {bit.bnot(0), bit.band(255, 15), bit.bor(1, 2, 4), bit.bxor(255, 15), bit.band(7)}
return {bit.lshift(1, 31), bit.rshift(-1, 1), bit.arshift(-8, 1), bit.rol(0x12345678, 12), bit.ror(0x12345678, 12)}
return {bit.lshift(1, 32), bit.rol(1, 0), bit.bswap(0x12345678)}
return {bit.tohex(1), bit.tohex(-1), bit.tohex(0xffff, 4), bit.tohex(255, -4), bit.tohex(0x87654321, -8)}
return bit.band()
return bit.band('x')
return bit.band('0x10', '15')
""".strip().splitlines()


@pytest.mark.parametrize("script", JSON + LIBRARIES)
def test_libraries(both: Pair, script: str) -> None:
    both.check("EVAL", script, 0)


def test_arguments(both: Pair) -> None:
    both.check("EVAL", "return {KEYS, ARGV}", 2, "a", "b", "c", "d")
    both.check("EVAL", "return {#KEYS, #ARGV, ARGV[600]}", 5, *[str(i) for i in range(1000)])
    both.check("EVAL", "return 1", 3, "a")
    both.check("EVAL", "return 1", -1)
    both.check("EVAL", "return 1", "x")
    both.check("EVAL", "return 1")
    both.check("EVALSHA", "f" * 40, 0)
    both.check("EVALSHA", "short", "x")
    both.check("EVALSHA", "f" * 40, 3)


def test_cache(both: Pair) -> None:
    both.check("SCRIPT", "LOAD", "return ARGV[1]")
    sha = "098e0f0d1448c0a81dafe820f66d460eb09263da"
    both.check("EVALSHA", sha, 0, "x")
    both.check("EVALSHA", sha.upper(), 0, "x")
    both.check("EVALSHA_RO", sha, 0, "x")
    both.check("SCRIPT", "EXISTS", sha, "nope", sha.upper())
    both.check("SCRIPT", "LOAD", "return )")
    both.check("SCRIPT", "FLUSH", "x")
    both.check("SCRIPT", "FLUSH", "sync")
    both.check("SCRIPT", "EXISTS", sha)
    both.check("EVALSHA", sha, 0, "x")
    both.check("SCRIPT", "FLUSH")
    both.check("SCRIPT", "LOAD")
    both.check("SCRIPT", "EXISTS")
    both.check("SCRIPT", "nope")
    both.check("SCRIPT", "KILL")
    both.check("SCRIPT", "DEBUG", "x")
    both.check("SCRIPT", "DEBUG", "no")


def test_cache_keeps_what_was_loaded_and_the_latest_of_the_others(harness: Harness, client: Client) -> None:
    kept = client("SCRIPT", "LOAD", "return 'kept'")
    for i in range(EVALUATED_MAX + 1):
        client("EVAL", f"return {i}", 0)
    cache = scripts(harness.engine).cache
    assert len(cache) == EVALUATED_MAX + 1 and kept in cache
    assert client("EVAL", "return 0", 0) == 0
    client("SCRIPT", "FLUSH")
    assert not cache and not scripts(harness.engine).by_source


@pytest.mark.parametrize(
    "line",
    ["#!lua", "#!lua\nreturn 1", "#!lua flags=\nreturn 1", "#!lua flags=no-writes,allow-oom\nreturn 1",
     "#!lua flags=zz\nreturn 1", "#!lua name=x\nreturn 1", "#!py\nreturn 1", "#!lua flags=no-writes\nreturn )",
     "#!lua flags=no-writes\nreturn redis.call('set', 'k', 'v')", "#!lua\nreturn redis.call('set', 'k', 'v')",
     "#!lua flags=no-writes,allow-stale,no-cluster,allow-cross-slot-keys\nreturn redis.call('get', 'k')"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["EVAL", "EVAL_RO"])
def test_shebang(both: Pair, line: str, name: str) -> None:
    both.check(name, line, 0)


def test_read_only(both: Pair) -> None:
    both.check("EVAL_RO", "return redis.call('set', 'k', 'v')", 0)
    both.check("EVAL_RO", "return redis.call('get', 'k')", 0)
    both.check("EVAL_RO", "return redis.pcall('publish', 'k', 'v')", 0)
    both.check("EVAL", "return redis.call('publish', 'k', 'v')", 0)


def test_database_and_protocol_are_put_back(both: Pair) -> None:
    both.check("EVAL", "redis.call('select', 5) redis.setresp(3) return redis.call('set', 'k', 'five')", 0)
    both.check("GET", "k")
    both.check("EVAL", "return redis.call('hgetall', 'nope')", 0)
    both.check("SELECT", 5)
    both.check("GET", "k")
    both.check("EVAL", "redis.call('select', 6) error('x')", 0)
    both.check("GET", "k")
    both.check("FLUSHALL")


def test_events_and_errors_like_any_command(both: Pair) -> None:
    both.check("EVAL", "redis.call('set', 'a', 1) redis.call('del', 'a') redis.call('lpush', 'l', 1) return 1", 0)
    both.check("EVAL", "redis.call('set', 'b', 1) return redis.call('lpush', 'b', 1)", 0)
    assert both.events() == [("set", b"a"), ("del", b"a"), ("lpush", b"l"), ("set", b"b")]


def test_transaction(both: Pair) -> None:
    both.check("MULTI")
    both.check("EVAL", "return redis.call('incr', 'n')", 0)
    both.check("EVAL", "return redis.call('nope')", 0)
    both.check("EVALSHA", "f" * 40, 0)
    both.check("EXEC")


@pytest.mark.parametrize(
    "name", ["EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "SCRIPT|LOAD", "SCRIPT|EXISTS", "SCRIPT|FLUSH", "SCRIPT|KILL",
             "SCRIPT|DEBUG", "SCRIPT|HELP"],
)  # fmt: skip
def test_command_facts(both: Pair, name: str) -> None:
    def facts(reply: bytes) -> set[bytes]:
        return {line for line in reply.split(b"\r\n") if line[:1] in b"+:"}

    ours, theirs = both.ours.raw("COMMAND", "INFO", name), both.oracle("COMMAND", "INFO", name)
    assert facts(ours) == facts(theirs)


def test_locks_of_redis_py(both: Pair) -> None:
    from redis.lock import Lock

    both.check("SET", "lock", "token", "NX", "PX", 60_000)
    both.check("EVAL", Lock.LUA_EXTEND_SCRIPT, 1, "lock", "wrong", 1000, 0)
    both.check("EVAL", Lock.LUA_EXTEND_SCRIPT, 1, "lock", "token", 1000, 1)
    both.check("EVAL", Lock.LUA_REACQUIRE_SCRIPT, 1, "lock", "token", 60_000)
    both.check("EVAL", Lock.LUA_RELEASE_SCRIPT, 1, "lock", "wrong")
    both.check("EVAL", Lock.LUA_RELEASE_SCRIPT, 1, "lock", "token")
    both.check("EVAL", Lock.LUA_RELEASE_SCRIPT, 1, "lock", "token")
    both.check("EXISTS", "lock")


SLIDING_WINDOW = """
local key, now, window, limit = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
local used = redis.call('ZCARD', key)
if used >= limit then
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    return {0, limit - used, oldest[2] + window - now}
end
redis.call('ZADD', key, now, now .. '-' .. used)
redis.call('PEXPIRE', key, window)
return {1, limit - used - 1, 0}
"""
TOKEN_BUCKET = """
local rate, capacity, now, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = tonumber(state[1]) or capacity
local at = tonumber(state[2]) or now
tokens = math.min(capacity, tokens + math.max(0, now - at) * rate)
local allowed = tokens >= wanted
if allowed then tokens = tokens - wanted end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'at', now)
redis.call('EXPIRE', KEYS[1], math.ceil(capacity / rate) * 2)
return {allowed, tostring(tokens)}
"""


def test_rate_limiters_by_digest(both: Pair) -> None:
    window = both.check("SCRIPT", "LOAD", SLIDING_WINDOW).split(b"\r\n")[1]
    bucket = both.check("SCRIPT", "LOAD", TOKEN_BUCKET).split(b"\r\n")[1]
    for now in (0, 10, 20, 30, 1005, 1011, 5000):
        both.check("EVALSHA", window, 1, "window", now, 1000, 3)
    for now, wanted in ((0, 4), (1, 4), (2, 4), (2.5, 1), (3, 5), (30, 10), (30, 1)):
        both.check("EVALSHA", bucket, 1, "bucket", 1.5, 10, now, wanted)
    both.check("HGETALL", "bucket")
    both.check("ZRANGE", "window", 0, -1, "WITHSCORES")


@pytest.mark.parametrize("call, reply", [
    ("'blpop', 'nope', 0", b"$-1"), ("'brpop', 'list', 0", b"*2\r\n$4\r\nlist\r\n$1\r\nb"),
    ("'blmove', 'nope', 'x', 'left', 'left', 0", b"$-1"), ("'brpoplpush', 'nope', 'x', 0", b"$-1"),
    ("'bzpopmin', 'nope', 0", b"$-1"), ("'wait', 1, 0", b":0"),
])  # fmt: skip
def test_what_would_wait_does_not_wait_in_a_script(client: Client, call: str, reply: bytes) -> None:
    """As Redis 7.2 has it; 7.0 does not let scripts call these."""
    client("RPUSH", "list", "a", "b")
    assert client.raw("EVAL", f"return redis.call({call})", 0) == reply + b"\r\n"


def test_a_script_that_only_reads_runs_while_writes_are_paused(harness: Harness, client: Client) -> None:
    reading, writing = "#!lua flags=no-writes\nreturn 1", "#!lua\nreturn 2"
    sha = client("SCRIPT", "LOAD", reading)
    function = "redis.register_function{function_name='r', callback=function() return 3 end, flags={'no-writes'}}"
    client("FUNCTION", "LOAD", "#!lua name=l\n" + function)
    client("CLIENT", "PAUSE", 1000, "WRITE")
    assert client("EVAL", reading, 0) == 1 and client("EVALSHA", sha, 0) == 1 and client("FCALL", "r", 0) == 3
    other = harness.connect()
    assert other("EVAL", writing, 0) is NO_REPLY and other.sent() == b""
    harness.advance(1001)
    assert other.sent() == b":2\r\n"
    client("CLIENT", "PAUSE", 1000, "ALL")
    assert client("EVAL", reading, 0) is NO_REPLY


def test_very_many_arguments(both: Pair) -> None:
    """Lua's stack has 8,000 places for them; two fewer than in Redis are left beside what lupa needs."""
    many = "local a = {} for i = 1, %d do a[i] = i end return redis.call('rpush', KEYS[1], unpack(a))"
    both.check("EVAL", many % 7995, 1, "l")
    both.check("LRANGE", "l", -2, -1)
    both.check("EVAL", many % 8000, 1, "l")
    assert both.ours("EVAL", many % 7999, 1, "l").text.startswith("ERR user_script:1: too many arguments to 'call'")


@pytest.mark.parametrize("resp", [2, 3])
@pytest.mark.parametrize("script_resp", [2, 3])
@pytest.mark.parametrize("kind", ["string", "integer", "double", "null", "array", "set", "map", "attrib", "true",
                                  "false", "verbatim", "bignum"])  # fmt: skip
def test_debug_shows_scripts_every_type(
    oracle: Oracle, harness: Harness, resp: int, script_resp: int, kind: str
) -> None:
    harness.engine.settings["enable-debug-command"] = "yes"
    both = Pair(oracle, harness, resp)
    script = f"redis.setresp({script_resp}) return redis.call('debug', 'protocol', '{kind}')"
    assert b"not allowed from script" in both.check("EVAL", script, 0)
    both.check("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 1)
    try:
        both.check("EVAL", script, 0)
    finally:
        both.check("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 0)
    both.check("EVAL", script, 0)


def test_what_would_confuse_a_running_script_stays_closed_to_scripts(harness: Harness, client: Client) -> None:
    harness.engine.settings["enable-debug-command"] = "yes"
    client("DEBUG", "SET-DISABLE-DENY-SCRIPTS", 1)
    for words in ("'eval', 'return 1', 0", "'multi'", "'subscribe', 'c'", "'script', 'flush'", "'function', 'list'"):
        assert "not allowed from script" in client("EVAL", f"return redis.call({words})", 0).text


def test_time_stands_still_in_scripts_and_transactions(harness: Harness, client: Client) -> None:
    now = harness.clock.now
    expected = [b"%d" % (now // 1000), b"%d" % (now % 1000 * 1000)]
    assert client("EVAL", "return redis.call('time')", 0) is not None
    twice = client.raw("EVAL", "local a = redis.call('time') return {a, redis.call('time')}", 0).split(b"*2\r\n")
    assert twice[2] == twice[3] == b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in expected)
    client("MULTI")
    client("TIME")
    assert client("EXEC") == [expected]


def test_info_does_not_count_what_scripts_have_left_behind(harness: Harness, client: Client) -> None:
    client("EVAL", "return 1", 0)
    before = scripts(harness.engine).used()
    client("EVAL", "local t = {} for i = 1, 3000 do t[i] = {i} end return 1", 0)
    assert scripts(harness.engine).used() < before + 5000
