-- Claims, renews or gives up the leadership among a cluster's coordinators; KEYS[1] holds the leader, ARGV[1] asks.
-- The term counts leaders and outlives them; as with the epoch, the highest that a caller has seen wins, so a leader that
-- Redis forgot is restored by its next renewal.
local ask = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stored = redis.call('GET', KEYS[1])
local held = stored and cjson.decode(stored) or { id = '', address = '', term = 0, untilMs = 0 }

local mine = held.id == ask.id and ask.leading
local forgotten = ask.leading and ask.term > held.term
local free = held.untilMs <= now or held.term < ask.term
if ask.resign then
  if mine then
    held.untilMs = 0
    held.resigned = true
  end
elseif mine or forgotten then
  held = { id = ask.id, address = ask.address, term = math.max(held.term, ask.term), untilMs = now + ask.leaseMs }
elseif free and (ask.claim or ask.stands and held.resigned) then
  held = { id = ask.id, address = ask.address, term = math.max(held.term, ask.term) + 1, untilMs = now + ask.leaseMs }
end
if ask.leading or held.id == ask.id then redis.call('SET', KEYS[1], cjson.encode(held), 'PX', ask.keepMs) end
local holds = held.untilMs > now
return cjson.encode({ id = held.id, address = held.address, term = held.term, holds = holds })
