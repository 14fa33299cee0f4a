//! The sending half of a step: what went where, and what of it is acknowledged.

use std::collections::HashMap;

use crate::error::{Code, Error, Result};
use crate::names::Party;

pub(crate) struct Sending {
    total: u64,
    queued: u64,
    acknowledged: u64,
    destinations: HashMap<Party, Destination>,
}

#[derive(Default)]
struct Destination {
    queued: u64,
    acknowledged: bool,
}

impl Sending {
    pub(crate) fn new(total: u64) -> Sending {
        Sending { total, queued: 0, acknowledged: 0, destinations: HashMap::new() }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.acknowledged == self.total
    }

    /// Fails with PLAN_INVALID when more is sent than was registered.
    pub(crate) fn queue(&mut self, bytes_to: &[(Party, u64)]) -> Result<()> {
        let queued = bytes_to.iter().fold(self.queued, |sum, (_, bytes)| sum.saturating_add(*bytes));
        if queued > self.total {
            return Err(Error::new(
                Code::PlanInvalid,
                format!("sendBytes: {queued} bytes were sent, expected at most {}", self.total),
            ));
        }
        self.queued = queued;
        for (destination, bytes) in bytes_to {
            self.destinations.entry(*destination).or_default().queued += bytes;
        }
        Ok(())
    }

    /// True when this was the last one.
    pub(crate) fn acknowledge(&mut self, destination: Party, bytes: u64) -> Result<bool> {
        let refuse = |what: String| Err(Error::new(Code::PlanInvalid, format!("ack of {destination}: {what}")));
        let Some(sums) = self.destinations.get_mut(&destination) else {
            return refuse("nothing was sent there".into());
        };
        if sums.acknowledged {
            return refuse("came twice".into());
        }
        if bytes != sums.queued {
            return refuse(format!("{bytes} bytes, expected {}", sums.queued));
        }
        sums.acknowledged = true;
        self.acknowledged += bytes;
        Ok(self.is_complete())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Role;

    const RANK: Party = Party { role: Role::Rank, index: 2 };
    const OWNER: Party = Party { role: Role::Owner, index: 0 };

    #[test]
    fn a_step_is_sent_when_every_destination_has_acknowledged_what_it_was_sent() {
        let mut sending = Sending::new(30);
        sending.queue(&[(RANK, 10), (OWNER, 15)]).unwrap();
        sending.queue(&[(RANK, 5)]).unwrap();
        assert_eq!(sending.acknowledge(OWNER, 15), Ok(false));
        assert_eq!(sending.acknowledge(RANK, 15), Ok(true));
    }

    #[test]
    fn acks_that_do_not_fit_are_refused_by_name() {
        let mut sending = Sending::new(10);
        assert_eq!(sending.queue(&[(OWNER, 1), (RANK, 10)]).unwrap_err().code, Code::PlanInvalid);
        sending.queue(&[(RANK, 10)]).unwrap();
        for (destination, bytes, expected) in [(OWNER, 10, "nothing was sent there"), (RANK, 9, "9 bytes, expected 10")]
        {
            let error = sending.acknowledge(destination, bytes).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        }
        assert_eq!(sending.acknowledge(RANK, 10), Ok(true));
        assert!(sending.acknowledge(RANK, 10).unwrap_err().message.contains("came twice"));
    }
}
