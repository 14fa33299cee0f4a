-- Ends a member's lease, if it has one.
local rank, seat = seat_of(ask.member)
if rank ~= nil then
  state.seats[rank] = nil
  if seat.expired then dirty = true else changed = true end
end
return reply({})
