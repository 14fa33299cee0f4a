//! Slices that wait for one link, which all jobs share: deficit round robin.
//!
//! Invariants:
//! F1. Slices of one job leave in the order in which they were queued.
//! F2. Jobs that have something queued take turns, each of a chunk's bytes, and what one takes beyond its turn is missing from its
//!     next. So a job waits for at most a chunk of every other job, however much those have queued.
//! F3. A job with nothing queued has no turn and saves none up.

use std::collections::VecDeque;

use crate::link::mailbox::Queue;
use crate::link::outlet::{Chunk, Slice};

#[derive(Default)]
pub(crate) struct JobQueue {
    /// Never empty ones; the first has its turn.
    lanes: VecDeque<Lane>,
}

struct Lane {
    job: String,
    slices: VecDeque<Slice>,
    /// Bytes taken in this turn.
    taken: usize,
}

impl JobQueue {
    /// Cuts the next chunk off, passing over slices of dead steps.
    pub(crate) fn take_chunk(&mut self, chunk_bytes: usize) -> Option<Chunk> {
        while let Some(lane) = self.lanes.front_mut() {
            let Some(chunk) = lane.take_chunk(chunk_bytes) else {
                self.lanes.pop_front();
                continue;
            };
            lane.taken += chunk.bytes;
            if lane.slices.is_empty() {
                self.lanes.pop_front();
            } else if lane.taken >= chunk_bytes {
                lane.taken -= chunk_bytes;
                self.lanes.rotate_left(1);
            }
            return Some(chunk);
        }
        None
    }
}

impl Lane {
    fn take_chunk(&mut self, chunk_bytes: usize) -> Option<Chunk> {
        loop {
            let slice = self.slices.front_mut()?;
            if !slice.step.is_live() {
                self.slices.pop_front();
                continue;
            }
            let (chunk, is_last) = slice.cut(chunk_bytes);
            if is_last {
                self.slices.pop_front();
            }
            return Some(chunk);
        }
    }
}

impl Queue<Slice> for JobQueue {
    fn len(&self) -> usize {
        self.lanes.iter().map(|lane| lane.slices.len()).sum()
    }

    fn append(&mut self, slice: Slice) {
        let job = &slice.step.key.job;
        match self.lanes.iter_mut().find(|lane| lane.job == *job) {
            Some(lane) => lane.slices.push_back(slice),
            None => self.lanes.push_back(Lane { job: job.clone(), slices: VecDeque::from([slice]), taken: 0 }),
        }
    }

    fn take_all_but(&mut self, keep: impl Fn(&Slice) -> bool) -> Vec<Slice> {
        let taken = self.lanes.iter_mut().flat_map(|lane| lane.slices.take_all_but(&keep)).collect();
        self.lanes.retain(|lane| !lane.slices.is_empty());
        taken
    }
}

#[cfg(test)]
#[path = "job_queue_test.rs"]
mod tests;
