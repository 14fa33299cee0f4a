//! Rows that a peer reads in place: how much of them at a time, and how long they stay.
//!
//! Invariants:
//! N1. What is lent is held until the peer has said that it was read; when the call ends before, until its step is over. So
//!     nothing is written over rows that a peer may still take for a step's.
//! N2. A call lends at most the window and one chunk: one job's rows do not fill the memory that all share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::lock;
use crate::steps::Step;

#[derive(Default)]
pub(crate) struct Lent(Mutex<State>);

#[derive(Default)]
struct State {
    loans: VecDeque<Loan>,
    payload_bytes: usize,
    released: u64,
}

struct Loan {
    step: Arc<Step>,
    memory: Bytes,
    payload_bytes: usize,
}

impl Lent {
    pub(crate) fn has_room(&self, window_bytes: usize) -> bool {
        lock(&self.0).payload_bytes < window_bytes
    }

    /// Holds on to memory in which `payload_bytes` are about to be read.
    pub(crate) fn lend(&self, step: Arc<Step>, memory: Bytes, payload_bytes: usize) {
        let mut state = lock(&self.0);
        state.payload_bytes += payload_bytes;
        state.loans.push_back(Loan { step, memory, payload_bytes });
    }

    /// The peer has read so many loans in all. False when there were not so many.
    pub(crate) fn release(&self, total: u64) -> bool {
        let mut read = Vec::new();
        let mut state = lock(&self.0);
        while state.released < total {
            let Some(loan) = state.loans.pop_front() else { return false };
            state.released += 1;
            state.payload_bytes -= loan.payload_bytes;
            read.push(loan);
        }
        // Freed after the lock is released.
        drop(state);
        drop(read);
        true
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        for Loan { step, memory, .. } in state.loans.drain(..) {
            step.keep(memory);
        }
    }
}
