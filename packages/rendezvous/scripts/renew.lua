-- Extends a lease; gives back one that ended, or that Redis lost, while nobody else holds the rank.
local rank = tostring(ask.rank)
local seat = state.seats[rank]
local owns = seat ~= nil and seat.member == ask.member
if lost and ask.claim and not owns and held_by_nobody(rank) and ask.rank < (state.cpSize or 0) then
  local other = seat_of(ask.member)
  if other ~= nil then state.seats[other] = nil end
  seat = {
    member = ask.member,
    controlAddress = ask.claim.controlAddress,
    tensorAddress = ask.claim.tensorAddress,
    expired = true,
  }
  state.seats[rank] = seat
  owns = true
end
if not owns then
  local holder = nil
  if seat ~= nil and not seat.expired then holder = seat.member end
  return reply({ refusal = 'LOST', holder = holder })
end
if seat.expired then
  -- The set that it completes is the caller's last one only if nothing but Redis forgot it (S3).
  seat.epoch = lost and ask.claim and ask.claim.cpSize == state.cpSize and ask.claim.epoch or nil -- -1: none
  changed = true
end
extend(seat)
return reply({ rank = ask.rank })
