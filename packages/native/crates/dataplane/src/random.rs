//! Random numbers for tests, from a seed that failures print.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) struct Random {
    pub(crate) seed: u64,
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { seed, state: seed | 1 }
    }

    pub(crate) fn from_time() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Random::new(now.as_nanos() as u64)
    }

    /// A number in `0..limit`; 0 for an empty range.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // xorshift64*
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let value = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16;
        if limit == 0 { 0 } else { value as usize % limit }
    }
}
