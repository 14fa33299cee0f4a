-- Goes before every other script here. A cluster's membership is one JSON document under KEYS[1]; ARGV[1] is the
-- caller's request as JSON. A script changes `state` and ends with `return reply({...})`, which settles, stores,
-- announces and answers with the whole state.
--
-- S1: the epoch is at least the highest that any caller has seen. Advancing starts from that maximum.
-- S2: a lineage is one unbroken history of the document, and the version counts its writes. A caller that has seen a
--     later version, or a lineage that is gone, proves that Redis lost writes (restarted empty, failed over to a stale
--     replica). Then no stored seat is trusted: holders prove theirs by renewing, and nobody else may take a rank until
--     a lease's length has passed.
-- S3: `seat.epoch` is the epoch whose complete set has this seat. All seats of a complete set have the same, or it is a
--     new set and gets a new epoch. So holders that return after a loss of writes find their epoch unchanged.
local key = KEYS[1]
local ask = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local changed, dirty = false, false
local state

local function distrust()
  state.lineage = ask.fresh
  state.cpSize = state.cpSize or ask.knownCpSize
  state.leaseMs = state.leaseMs or ask.knownLeaseMs
  state.protocolVersion = state.protocolVersion or ask.protocolVersion
  state.recoversUntil = now + (state.leaseMs or 0)
  for _, seat in pairs(state.seats) do
    seat.expired = true
    seat.epoch = nil
  end
  changed = true
end

local stored = redis.call('GET', key)
if stored then
  state = cjson.decode(stored)
  if ask.lineage == state.lineage and ask.version > state.version then
    state.version = ask.version
    distrust()
  end
else
  state = { lineage = ask.fresh, version = 0, epoch = 0, seats = {} }
  if ask.lineage then distrust() end
end
if ask.epoch > state.epoch then
  state.epoch = ask.epoch
  dirty = true
end
-- Whether the caller's own lease may be among the lost writes.
local lost = ask.lineage ~= nil and ask.lineage ~= state.lineage

for _, seat in pairs(state.seats) do
  if not seat.expired and seat.untilMs <= now then
    seat.expired = true
    seat.epoch = nil
    changed = true
  end
end

local function seat_of(member)
  for rank, seat in pairs(state.seats) do
    if seat.member == member then return rank, seat end
  end
  return nil, nil
end

local function held_by_nobody(rank)
  local seat = state.seats[rank]
  return seat == nil or seat.expired
end

local function extend(seat)
  seat.untilMs = now + state.leaseMs
  seat.expired = nil
  dirty = true
end

local function recovering()
  return state.recoversUntil ~= nil and now < state.recoversUntil
end

-- Advances the epoch when the set is complete and new (S3). While holders may still return, a set that mixes proven
-- seats of different epochs waits for them.
local function settle()
  if state.cpSize == nil then return end
  local taken, same = 0, 0
  for _, seat in pairs(state.seats) do
    if not seat.expired then
      taken = taken + 1
      if seat.epoch == state.epoch then same = same + 1 end
    end
  end
  if taken < state.cpSize then return end
  state.recoversUntil = nil
  if same == taken then return end
  state.epoch = state.epoch + 1
  for _, seat in pairs(state.seats) do seat.epoch = state.epoch end
  changed = true
end

local function reply(answer)
  settle()
  if changed or dirty then
    state.version = state.version + 1
    redis.call('SET', key, cjson.encode(state), 'PX', ask.keepMs)
  end
  if changed then redis.call('PUBLISH', key, tostring(state.version)) end
  answer.state = state
  answer.nowMs = now
  return cjson.encode(answer)
end
