-- Says how many ranks make a complete set and how long leases are. Without `resize` a size that is already set stays:
-- it may be the result of scaling. The protocol version changes only while there are no members.
if state.protocolVersion ~= ask.protocolVersion then
  for _, seat in pairs(state.seats) do
    if not seat.expired then return reply({ refusal = 'VERSION' }) end
  end
  state.protocolVersion = ask.protocolVersion
  dirty = true
end
if state.cpSize == nil or (ask.resize and state.cpSize ~= ask.cpSize) then
  state.cpSize = ask.cpSize
  for rank, seat in pairs(state.seats) do
    seat.epoch = nil
    if tonumber(rank) >= state.cpSize then state.seats[rank] = nil end
  end
  changed = true
end
if state.leaseMs ~= ask.leaseMs then
  state.leaseMs = ask.leaseMs
  dirty = true
end
return reply({})
