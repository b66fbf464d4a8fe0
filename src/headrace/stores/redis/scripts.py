"""What must happen in one step, as scripts that run inside the server.

A stream's keys, all in the slot of its id: `meta` (a hash, and the channel of the same name on which every change is
told), `log` (a Redis stream whose entry `<seq+1>-0` holds a record's JSON), `lease` (exists while its producer is
heard of), `request`. Every script may be run twice: a reply can get lost after the work is done.

Told is the JSON list of the records that were appended; or, where that is longer than anybody wants to be told, how
many there are now; or `gone`. Answered is a number, or a list that begins with one of the words below.

Scripts with `allow-oom` run when memory is full, too: they end something, or keep it alive.
"""

from __future__ import annotations

import hashlib
from typing import Final

from headrace.stores.redis.connection import Argument, Reply
from headrace.stores.redis.refusals import UnknownScript
from headrace.stores.redis.servers import Servers

GONE: Final = b"gone"
FENCED: Final = b"fenced"
HELD: Final = b"held"
GAP: Final = b"gap"
FULL: Final = b"full"
ENDED: Final = b"ended"

_TOLD_BYTES = 16 * 1024
"""Longer batches are not sent to every node that listens: those who need them read them."""


class Script:
    """One script; a server knows it by its hash, until it restarts."""

    __slots__ = ("_sha", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, servers: Servers, keys: tuple[str, ...], *arguments: Argument) -> Reply:
        """Run it where the keys are. Raises `StoreError`."""
        try:
            return await servers.write(keys[0], "EVALSHA", self._sha, len(keys), *keys, *arguments)
        except UnknownScript:
            return await servers.write(keys[0], "EVAL", self._text, len(keys), *keys, *arguments)


_FIND = """
local meta, log, lease, request = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local owner, ttl, now, holder, node = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local at = redis.call('HMGET', meta, 'owner', 'state', 'epoch', 'next', 'holder', 'cancel')
"""
_CREATE = """
if not at[1] then
  local time = redis.call('TIME')
  local epoch = time[1] .. string.format('%06d', time[2])
  redis.call('UNLINK', log)
  redis.call('HSET', meta, 'owner', owner, 'state', 'running', 'epoch', epoch, 'next', 0, 'bytes', 0,
    'created', now, 'ttl', ttl, 'holder', holder, 'node', node)
  redis.call('SET', request, ARGV[6])
  redis.call('SET', lease, epoch, 'PX', ttl)
  return {epoch, 0}
end
"""
_TAKE = """
if at[1] ~= owner then return {'gone'} end
if at[2] ~= 'running' then return {'fenced', at[2]} end
local epoch = at[3]
if at[5] ~= holder then
  local left = redis.call('PTTL', lease)
  if left > 0 then return {'held', left} end
  epoch = string.format('%.0f', redis.call('HINCRBY', meta, 'epoch', 1))
  redis.call('HSET', meta, 'ttl', ttl, 'holder', holder, 'node', node)
end
redis.call('SET', lease, epoch, 'PX', ttl)
return {epoch, tonumber(at[4]), at[6]}
"""

ACQUIRE = Script("#!lua" + _FIND + _CREATE + _TAKE)
"""Keys: meta, log, lease, request. Arguments: owner, ttl in ms, now in ms, this attempt's own name, node, request.
Answers epoch and next seq, and who asks for a cancel, if anybody does."""

TAKE = Script("#!lua flags=allow-oom" + _FIND + "if not at[1] then return {'full'} end" + _TAKE)
"""The same for a stream that there is: whoever takes it over ends it, or lets it go on."""

APPEND = Script(f"""#!lua
local meta, log, lease = KEYS[1], KEYS[2], KEYS[3]
local at = redis.call('HMGET', meta, 'epoch', 'state', 'next', 'bytes', 'ttl', 'cancel')
if not at[1] then return {{'gone'}} end
if at[1] ~= ARGV[1] or at[2] ~= 'running' then return {{'fenced', at[2]}} end
if redis.call('PEXPIRE', lease, at[5]) == 0 then redis.call('SET', lease, at[1], 'PX', at[5]) end
local count = tonumber(at[3])
local known = count - tonumber(ARGV[2])
if known < 0 then return {{'gap', count}} end
local first, size = 4 + known, 0
for i = first, #ARGV do size = size + #ARGV[i] end
if size > 0 then
  local bytes = tonumber(at[4]) + size
  if bytes > tonumber(ARGV[3]) then return {{'full'}} end
  for i = first, #ARGV do
    count = count + 1
    redis.call('XADD', log, count .. '-0', 'r', ARGV[i])
  end
  redis.call('HSET', meta, 'next', count, 'bytes', bytes)
  local told = count
  if size <= {_TOLD_BYTES} then told = '[' .. table.concat(ARGV, ',', first) .. ']' end
  redis.call('SPUBLISH', meta, told)
end
if at[6] then return {{count, at[6]}} end
return count
""")
"""Keys: meta, log, lease. Arguments: epoch, first seq, most bytes, records. Answers how many records there are,
and who asks for a cancel, if anybody does."""

FINISH = Script("""#!lua flags=allow-oom
local meta, log, lease, request = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local at = redis.call('HMGET', meta, 'epoch', 'state', 'next', 'bytes')
if not at[1] then return {'gone'} end
if at[1] ~= ARGV[1] then return {'fenced', at[2]} end
local count = tonumber(at[3])
if at[2] ~= 'running' then return {'ended', count} end
if at[3] ~= ARGV[2] then return {'gap', count} end
count = count + 1
redis.call('XADD', log, count .. '-0', 'r', ARGV[6])
redis.call('HSET', meta, 'next', count, 'bytes', tonumber(at[4]) + #ARGV[6], 'state', ARGV[3], 'ended', ARGV[4])
redis.call('HDEL', meta, 'cancel')
for _, key in ipairs({meta, log, request}) do redis.call('PEXPIRE', key, ARGV[5]) end
redis.call('DEL', lease)
redis.call('SPUBLISH', meta, '[' .. ARGV[6] .. ']')
return count
""")
"""Keys: meta, log, lease, request. Arguments: epoch, seq, state, now and retention in ms, the record."""

RENEW = Script("""#!lua flags=allow-oom
local at = redis.call('HMGET', KEYS[1], 'epoch', 'state', 'cancel')
if not at[1] then return {'gone'} end
if at[1] ~= ARGV[1] or at[2] ~= 'running' then return {'fenced', at[2]} end
redis.call('HSET', KEYS[1], 'ttl', ARGV[2])
redis.call('SET', KEYS[2], at[1], 'PX', ARGV[2])
return {0, at[3]}
""")
"""Keys: meta, lease. Arguments: epoch, ttl in ms. Answers 0, and who asks for a cancel, if anybody does."""

CANCEL = Script("""#!lua flags=allow-oom
local at = redis.call('HMGET', KEYS[1], 'state', 'node')
if not at[1] then return {'gone'} end
if at[1] ~= 'running' then return {'ended'} end
redis.call('HSETNX', KEYS[1], 'cancel', ARGV[1])
return {at[2], redis.call('HGET', KEYS[1], 'cancel')}
""")
"""Key: meta. Argument: who asks. Answers the producer's node, and who has asked first."""

DELETE = Script("""#!lua flags=allow-oom
local owner = redis.call('HGET', KEYS[1], 'owner')
if not owner then return {'gone'} end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SPUBLISH', KEYS[1], 'gone')
return owner
""")
"""Keys: meta, log, lease, request. Answers the owner."""

EXTEND = Script("""#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 0
""")
"""Key: a claim. Arguments: its value, ttl in ms."""

RELEASE = Script("""#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('UNLINK', KEYS[1]) end
return 0
""")
"""Key: a claim. Argument: its value."""

LIST = Script("""#!lua
local time = redis.call('TIME')
local score = time[1] * 1000000 + time[2]
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if last and tonumber(last) >= score then score = tonumber(last) + 1 end
redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', score), ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 0
""")
"""Key: an owner's streams, by the order in which they were made. Arguments: a stream's id, ttl in seconds."""
