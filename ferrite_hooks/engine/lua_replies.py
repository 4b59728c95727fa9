r"""A script's value as the bytes of a reply, in Lua: RESP2 or RESP3 for the client, whatever the script has chosen.

Only raw reads: a metamethod of the script would run outside of what it was asked for. `real` finds the table behind
a read-only one, `script_resp` tells the script's own protocol, which decides what a boolean is.
"""

SOURCE = rb"""
local real, script_resp = ...
local type, rawget, next = type, rawget, next
local format, gsub, match, sub, concat = string.format, string.gsub, string.match, string.sub, table.concat

local out, size, resp
local function put(text)
  size = size + 1
  out[size] = text
end
local function line(text) return (gsub(match(text, '^[^%z]*'), '[\r\n]', ' ')) end
local function bulk(text) put('$' .. #text .. '\r\n' .. text .. '\r\n') end
local encode

local function entries(t, per_entry)
  local at, count = size + 1, 0
  put('')
  for key, value in next, t do
    count = count + 1
    encode(key, 2)
    if per_entry == 2 then encode(value, 2) end
  end
  if per_entry == 2 then
    out[at] = resp == 3 and '%' .. count .. '\r\n' or '*' .. 2 * count .. '\r\n'
  else
    out[at] = (resp == 3 and '~' or '*') .. count .. '\r\n'
  end
end

local function typed(v)
  local special = rawget(v, 'err')
  if type(special) == 'string' then put('-' .. line(special) .. '\r\n') return true end
  special = rawget(v, 'ok')
  if type(special) == 'string' then put('+' .. line(special) .. '\r\n') return true end
  special = rawget(v, 'double')
  if type(special) == 'number' then
    local text = special ~= special and 'nan' or format('%.17g', special)
    if resp == 3 then put(',' .. text .. '\r\n') else bulk(text) end
    return true
  end
  special = rawget(v, 'big_number')
  if type(special) == 'string' then
    special = gsub(special, '[\r\n]', ' ')
    if resp == 3 then put('(' .. special .. '\r\n') else bulk(special) end
    return true
  end
  special = rawget(v, 'verbatim_string')
  if type(special) == 'table' then
    local kind, text = rawget(special, 'format'), rawget(special, 'string')
    if type(kind) == 'string' and type(text) == 'string' then
      if resp == 3 then
        put('=' .. #text + 4 .. '\r\n' .. sub(kind .. '   ', 1, 3) .. ':' .. text .. '\r\n')
      else
        bulk(text)
      end
      return true
    end
  end
  special = rawget(v, 'map')
  if type(special) == 'table' then entries(real[special] or special, 2) return true end
  special = rawget(v, 'set')
  if type(special) == 'table' then entries(real[special] or special, 1) return true end
  return false
end

local depth
function encode(v)
  local kind = type(v)
  if kind == 'string' then bulk(v)
  elseif kind == 'number' then put(':' .. format('%d', v) .. '\r\n')
  elseif kind == 'boolean' then
    if script_resp() == 3 then
      if resp == 3 then put(v and '#t\r\n' or '#f\r\n') else put(v and ':1\r\n' or ':0\r\n') end
    elseif v then put(':1\r\n')
    else put(resp == 3 and '_\r\n' or '$-1\r\n') end
  elseif kind == 'table' then
    v = real[v] or v
    if depth > 3000 then put('-ERR reached lua stack limit\r\n') return end
    depth = depth + 1
    if not typed(v) then
      local at, count = size + 1, 0
      put('')
      while true do
        local item = rawget(v, count + 1)
        if item == nil then break end
        encode(item)
        count = count + 1
      end
      out[at] = '*' .. count .. '\r\n'
    end
    depth = depth - 1
  else put(resp == 3 and '_\r\n' or '$-1\r\n') end
end

return function(v, protocol)
  out, size, depth, resp = {}, 0, 0, protocol
  encode(v)
  local wire = concat(out)
  out = nil
  return wire
end
"""
