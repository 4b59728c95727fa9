r"""The part of the sandbox that is written in Lua: what a script can see, and how it is called.

The chunk runs once per interpreter and returns functions for Python. Rules it keeps:

- A script never holds a real library table, only a proxy that cannot be written (Redis's Lua has read-only
  tables; plain Lua 5.1 does not), and never the real globals. Whatever could reach behind a proxy is wrapped.
- Python callables become plain C functions (`as_function`), so a script has nothing to look inside.
- An error raised in Python arrives as a userdata that wraps the exception. Every way to catch an error
  passes through `clean`, which turns it into what Redis's own C functions would have raised.
- The reply is encoded inside the protected call, with raw reads: no metamethod runs outside of it.
"""

SOURCE = rb"""
local python, host, replies = ...
local getinfo, sethook = debug.getinfo, debug.sethook
local type, tostring, rawget, rawset, rawequal = type, tostring, rawget, rawset, rawequal
local setmetatable, getmetatable, next, error, select = setmetatable, getmetatable, next, error, select
local pcall, xpcall, setfenv, loadstring, unpack = pcall, xpcall, setfenv, loadstring, unpack
local create, resume, yield = coroutine.create, coroutine.resume, coroutine.yield
local format, gsub, match, sub, byte, concat = string.format, string.gsub, string.match, string.sub, string.byte,
  table.concat
local floor, collect = math.floor, collectgarbage
local HERE = getinfo(1, 'S').source
local READONLY = 'Attempt to modify a readonly table'

local py = {}
for name, callable in next, host do
  py[name] = type(callable) == 'userdata' and python.as_function(callable) or callable
end
for _, name in next, {'debug', 'python', 'io', 'package', 'require', 'module', 'dofile', 'loadfile', 'print'} do
  _G[name] = nil
end

-- errors ------------------------------------------------------------------------------------------------------

local function clean(err)
  if type(err) == 'userdata' then
    local text, as_table, counted = py.explain(err)
    if as_table then return {err = text, ignore_error_stats_update = counted or nil} end
    if text then return text end
  elseif type(err) == 'string' then -- lupa's words when Lua's stack has no room left
    return (gsub(err, "bad argument #1 to '([%w_]+)' %(not a python object%)", "too many arguments to '%1'"))
  end
  return err
end

local function fail(text) error({err = text}, 0) end

local function caller(level)
  local info
  repeat
    info = getinfo(level, 'Sl')
    level = level + 1
  until not info or (info.currentline >= 0 and info.source ~= HERE) -- C functions and lost frames have no line
  return info
end

local function where()
  local info = caller(3)
  return info and info.short_src .. ':' .. info.currentline .. ': ' or ''
end

local function handler(err)
  err = clean(err)
  if type(err) ~= 'table' then err = {err = 'ERR ' .. tostring(err)} end
  local info = caller(3)
  if info then
    rawset(err, 'source', info.source)
    rawset(err, 'line', info.currentline)
  end
  return err
end

-- read-only tables --------------------------------------------------------------------------------------------

local real = setmetatable({}, {__mode = 'k'})  -- proxy -> the table behind it
local shown = setmetatable({}, {__mode = 'k'}) -- proxy -> what getmetatable says of it

local function refuse() error(READONLY, 2) end

local function readonly(contents)
  local proxy = setmetatable({}, {__index = contents, __newindex = refuse})
  real[proxy] = contents
  return proxy
end

local function missing(_, name)
  if type(name) ~= 'string' and type(name) ~= 'number' then
    error('Second argument to luaProtectedTableError must be a string or number', 2)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

local function strict(contents) return setmetatable(contents, {__index = missing}) end

local function writable(f)
  return function(t, ...)
    if real[t] then error(READONLY, 0) end
    return f(t, ...)
  end
end

local function next_of(t, key) return next(real[t] or t, key) end

-- what scripts call -------------------------------------------------------------------------------------------

local base = {
  _VERSION = _VERSION, assert = assert, error = error, gcinfo = gcinfo, ipairs = ipairs, rawequal = rawequal,
  select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  next = next_of, rawset = writable(rawset), setmetatable = writable(setmetatable),
}

function base.pairs(t)
  if real[t] then return next_of, t, nil end
  return pairs(t)
end

function base.rawget(t, key) return rawget(real[t] or t, key) end

local string_meta = readonly({})

function base.getmetatable(t)
  if real[t] then return shown[t] end
  if type(t) == 'string' then return string_meta end
  if type(t) == 'userdata' then return nil end
  return getmetatable(t)
end

function base.collectgarbage(option, argument)
  if option == nil or option == 'collect' or option == 'count' or option == 'step' then
    return collect(option or 'collect', argument)
  end
  return 0
end

-- as Redis: what was raised as {err = text} is caught as text
local function caught(ok, err, ...)
  if ok then return true, err, ... end
  err = clean(err)
  if type(err) == 'table' then
    local text = rawget(err, 'err')
    if type(text) == 'string' or type(text) == 'number' then err = text end
  end
  return false, err
end
function base.pcall(...) return caught(pcall(...)) end

-- A debug hook belongs to one coroutine, so each gets it. An error raised in it meets its handler with hooks
-- switched off, so a script that is to die gets no handler of its own: it could stay there for ever.
local hook, mask, every = nil, '', 100000
function base.xpcall(f, on_error)
  return xpcall(f, function(err)
    if mask == 'l' then return clean(err) end
    return on_error(clean(err))
  end)
end
local function new_coroutine(f)
  local co = create(f)
  sethook(co, hook, mask, every)
  return co
end
local function resumed(ok, err, ...)
  if ok then return true, err, ... end
  return false, clean(err)
end
local function unwrapped(ok, err, ...)
  if ok then return err, ... end
  error(clean(err), 0)
end
local co = {create = new_coroutine, yield = yield, running = coroutine.running, status = coroutine.status}
function co.resume(...) return resumed(resume(...)) end
function co.wrap(f)
  local made = new_coroutine(f)
  return function(...) return unwrapped(resume(made, ...)) end
end

local tables = {}
for name, f in next, table do tables[name] = f end
for _, name in next, {'insert', 'remove', 'sort'} do tables[name] = writable(table[name]) end

-- the generator of drand48, as Redis has it: the same seed gives the same numbers everywhere
local high, low = 0x1234ABCD, 0x330E
local function lrand48()
  local product = low * 0xE66D + 0xB
  local carry = floor(product / 65536)
  -- high is 32 bits, the multiplier's upper part 0x5DEEC: keep products below 2^53
  local h0, h1 = high % 65536, floor(high / 65536)
  local mid = h0 * 0xE66D + low * 0xDEEC + carry
  local top = h1 * 0xE66D + h0 * 0xDEEC + low * 5 + floor(mid / 65536)
  low = product % 65536
  high = (top % 65536) * 65536 + mid % 65536
  return floor(high / 2)
end
local numbers = {}
for name, f in next, math do numbers[name] = f end
function numbers.random(...)
  local r = (lrand48() % 2147483647) / 2147483647
  local n = select('#', ...)
  if n == 0 then return r end
  local l, u = 1, (...)
  if n == 2 then l, u = ... end
  if n > 2 then error('wrong number of arguments', 2) end
  l, u = tonumber(l), tonumber(u)
  if not l or not u then error("bad argument #1 to 'random' (number expected)", 2) end
  l, u = floor(l), floor(u)
  if l > u then error("bad argument #" .. n .. " to 'random' (interval is empty)", 2) end
  return floor(r * (u - l + 1)) + l
end
function numbers.randomseed(seed)
  seed = tonumber(seed)
  if not seed then error("bad argument #1 to 'randomseed' (number expected)", 2) end
  high, low = floor(seed) % 4294967296, 0x330E
end

local function library(names)
  local made = {}
  for name, f in next, names do made[name] = py[f] end
  return made
end
local null = newproxy()
local cjson = library({encode = 'json_encode', decode = 'json_decode',
  encode_sparse_array = 'json_sparse', encode_max_depth = 'json_encode_depth', decode_max_depth = 'json_decode_depth',
  encode_number_precision = 'json_precision', encode_invalid_numbers = 'json_encode_invalid',
  decode_invalid_numbers = 'json_decode_invalid', encode_keep_buffer = 'json_keep_buffer'})
cjson.null, cjson._NAME, cjson._VERSION = null, 'cjson', '2.1.0'
local bits = library({tobit = 'bit_tobit', bnot = 'bit_bnot', band = 'bit_band', bor = 'bit_bor', bxor = 'bit_bxor',
  lshift = 'bit_lshift', rshift = 'bit_rshift', arshift = 'bit_arshift', rol = 'bit_rol', ror = 'bit_ror',
  bswap = 'bit_bswap', tohex = 'bit_tohex'})
local pack = library({pack = 'msgpack_pack', unpack = 'msgpack_unpack', unpack_one = 'msgpack_unpack_one',
  unpack_limit = 'msgpack_unpack_limit'})
pack._NAME, pack._VERSION = 'cmsgpack', 'lua-cmsgpack 0.4.0'
local structs = library({pack = 'struct_pack', unpack = 'struct_unpack', size = 'struct_size'})

base.string, base.table, base.math, base.coroutine = readonly(string), readonly(tables), readonly(numbers), readonly(co)
base.cjson, base.bit, base.cmsgpack, base.struct = readonly(cjson), readonly(bits), readonly(pack), readonly(structs)
base.os = readonly({clock = os.clock})
real[string_meta].__index = base.string

-- redis -------------------------------------------------------------------------------------------------------

local function coded(text)
  text = match(text, '^[^%z]*')
  if sub(text, 1, 1) == '-' then
    local code, rest = match(text, '^%-([^ ]*) (.*)$')
    if not code then code, rest = 'ERR', sub(text, 2) end
    return code .. ' ' .. match(gsub(rest, '[\r\n]+$', ''), '^[\r\n]*(.*)$')
  end
  return 'ERR ' .. text
end

local logging = {
  log = py.log, LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REDIS_VERSION = host.REDIS_VERSION, REDIS_VERSION_NUM = host.REDIS_VERSION_NUM,
}
local redis = {
  call = py.call, pcall = py.pcall, sha1hex = py.sha1hex, setresp = py.setresp, set_repl = py.set_repl,
  acl_check_cmd = py.acl_check_cmd, REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
}
for name, value in next, logging do redis[name] = value end

function redis.error_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
  if sub(text, 1, 1) ~= '-' then text = '-' .. text end
  return {err = coded(text)}
end
function redis.status_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then return {err = 'ERR wrong number or type of arguments'} end
  return {ok = text}
end

local function copy(t)
  local made = {}
  for key, value in next, t do made[key] = value end
  return made
end

local function environment(globals)
  local proxy = readonly(strict(globals))
  globals._G = proxy
  shown[proxy] = readonly({})
  return proxy
end

local eval_redis = copy(redis)
function eval_redis.breakpoint() return false end
function eval_redis.debug() end
function eval_redis.replicate_commands() return true end
local eval_globals = copy(base)
eval_globals.redis = readonly(eval_redis)
local eval_env = environment(eval_globals)

local function_globals = copy(base)
function_globals.redis = readonly(redis)
local function_env = environment(function_globals)
local function_meta = getmetatable(function_env)

local function loader(env)
  local function compile(text, name)
    if byte(text, 1) == 27 then return nil, 'bytecode is not allowed' end
    local f, err = loadstring(text, name)
    if not f then return nil, err end
    return setfenv(f, env)
  end
  local function checked(text, name)
    text = type(text) == 'number' and tostring(text) or text
    if type(text) ~= 'string' then error("bad argument #1 to 'loadstring' (string expected)", 2) end
    return compile(text, name or text)
  end
  local function load(f, name)
    local parts = {}
    while true do
      local part = f()
      if part == nil or part == '' then break end
      if type(part) ~= 'string' then error('reader function must return a string', 2) end
      parts[#parts + 1] = part
    end
    return compile(concat(parts), name or '=(load)')
  end
  return compile, checked, load
end
local compile_script, compile_library
compile_script, eval_globals.loadstring, eval_globals.load = loader(eval_env)
compile_library, function_globals.loadstring, function_globals.load = loader(function_env)

-- running -----------------------------------------------------------------------------------------------------
-- results: one scalar or OK; or (wire, 1); or (error text, 2, not to be counted, place or nil); or (text, 3)

local function failure(err)
  if type(err) ~= 'table' then return tostring(err), 3 end
  local text, source, at = rawget(err, 'err'), rawget(err, 'source'), rawget(err, 'line')
  if type(text) ~= 'string' and type(text) ~= 'number' then text = 'ERR unknown error' end
  local place
  if source and at then place = tostring(source) .. ':' .. tostring(at) end
  return match(tostring(text), '^[^%z]*'), 2, rawget(err, 'ignore_error_stats_update') == true, place
end

local resp -- of the client
local OK = host.OK
local encode = replies(real, py.script_resp)

local function finish(ok, v)
  if not ok then return failure(v) end
  local kind = type(v)
  if kind == 'string' or kind == 'number' or kind == 'boolean' then return v end
  if kind ~= 'table' then return nil end
  if getmetatable(v) == nil and v.ok == 'OK' and not v.err then return OK end
  local text = rawget(real[v] or v, 'err')
  if text and type(text) == 'string' then
    return match(text, '^[^%z]*'), 2, rawget(v, 'ignore_error_stats_update') == true
  end
  local wire
  ok, wire = xpcall(function() return encode(v, resp) end, handler)
  if ok then return wire, 1 end
  return failure(wire)
end

local function divided(count, first, ...)
  if count == 0 then return {}, {first, ...} end
  local keys, args = {first, ...}, {}
  for i = count + 1, select('#', ...) + 1 do
    args[i - count], keys[i] = keys[i], nil
  end
  return keys, args
end

local function eval_tables(f, protocol, keys, args)
  resp = protocol
  eval_globals.KEYS, eval_globals.ARGV = keys, args
  return finish(xpcall(f, handler))
end
local function call_tables(f, protocol, keys, args)
  resp = protocol
  return finish(xpcall(function() return f(keys, args) end, handler))
end
local function with_words(run)
  return function(f, protocol, count, first, ...)
    if count == 1 then return run(f, protocol, {first}, {...}) end -- most have one key
    return run(f, protocol, divided(count, first, ...))
  end
end
local eval, call = with_words(eval_tables), with_words(call_tables)

-- libraries of functions --------------------------------------------------------------------------------------

local loading = strict({})
loading.redis = readonly(strict(copy(logging)))

local FLAGS = {['no-writes'] = 1, ['allow-oom'] = 1, ['allow-stale'] = 1, ['no-cluster'] = 1,
  ['allow-cross-slot-keys'] = 1}

local function named(spec)
  if type(spec) ~= 'table' then
    fail('ERR calling redis.register_function with a single argument is only applicable to Lua table '
      .. '(representing named arguments).')
  end
  local name, description, callback
  local flags = {}
  for key, value in next, spec do
    if type(key) ~= 'string' and type(key) ~= 'number' then
      fail('ERR named argument key given to redis.register_function is not a string')
    end
    key = string.lower(key)
    if key == 'function_name' then
      if type(value) ~= 'string' and type(value) ~= 'number' then
        fail('ERR function_name argument given to redis.register_function must be a string')
      end
      name = tostring(value)
    elseif key == 'description' then
      if type(value) ~= 'string' and type(value) ~= 'number' then
        fail('ERR description argument given to redis.register_function must be a string')
      end
      description = tostring(value)
    elseif key == 'callback' then
      if type(value) ~= 'function' then
        fail('ERR callback argument given to redis.register_function must be a function')
      end
      callback = value
    elseif key == 'flags' then
      if type(value) ~= 'table' then
        fail('ERR flags argument to redis.register_function must be a table representing function flags')
      end
      for _, flag in ipairs(value) do
        flag = (type(flag) == 'string' or type(flag) == 'number') and string.lower(flag)
        if not flag or not FLAGS[flag] then fail('ERR unknown flag given') end
        flags[#flags + 1] = flag
      end
    else
      fail('ERR unknown argument given to redis.register_function')
    end
  end
  if not name then fail('ERR redis.register_function must get a function name argument') end
  if not callback then fail('ERR redis.register_function must get a callback argument') end
  return name, callback, description, concat(flags, ' ')
end

local function register(...)
  local count = select('#', ...)
  if count < 1 or count > 2 then fail('ERR wrong number of arguments to redis.register_function') end
  local name, callback, description, flags = ...
  if count == 1 then
    name, callback, description, flags = named(name)
  else
    if type(name) ~= 'string' and type(name) ~= 'number' then
      fail('ERR first argument to redis.register_function must be a string')
    end
    if type(callback) ~= 'function' then fail('ERR second argument to redis.register_function must be a function') end
    name = tostring(name)
  end
  py.register(name, description or false, flags or '', function(keys, args) return callback(keys, args) end)
end
rawset(real[loading.redis], 'register_function', register)

local function load_library(f)
  function_meta.__index = loading
  local ok, err = xpcall(f, handler)
  function_meta.__index = function_globals
  if ok then return nil end
  return (failure(err))
end

-- time --------------------------------------------------------------------------------------------------------

-- Once a script is to die the hook fires for every line of it, so that it cannot go on behind a pcall.
function hook()
  local text = py.tick()
  if text then
    mask, every = 'l', 0
    sethook(hook, mask, every)
    if getinfo(2, 'S').source ~= HERE then fail(text) end
  end
end
local function watch()
  mask, every = '', 100000
  sethook(hook, mask, every)
end
watch()

return compile_script, compile_library, eval, call, eval_tables, call_tables, load_library, watch, where, null
"""
