-- Claims the lowest free rank.
if state.cpSize == nil then return reply({ refusal = 'UNCONFIGURED' }) end
if state.protocolVersion ~= ask.protocolVersion then return reply({ refusal = 'VERSION' }) end
local rank, seat = seat_of(ask.member)
local same = seat ~= nil and seat.controlAddress == ask.controlAddress and seat.tensorAddress == ask.tensorAddress
if same and not seat.expired then
  extend(seat)
  return reply({ rank = tonumber(rank) })
end
if recovering() then return reply({ refusal = 'RECOVERING' }) end
if rank ~= nil then
  state.seats[rank] = nil
  changed = true
end
for index = 0, state.cpSize - 1 do
  local free = tostring(index)
  if held_by_nobody(free) then
    local taken = { member = ask.member, controlAddress = ask.controlAddress, tensorAddress = ask.tensorAddress }
    state.seats[free] = taken
    extend(taken)
    changed = true
    return reply({ rank = index })
  end
end
return reply({ refusal = 'FULL' })
