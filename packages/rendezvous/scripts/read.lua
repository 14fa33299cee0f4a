-- The membership now. Ends leases whose time has come and learns the caller's epoch, as every script does.
return reply({})
