//! One registered step.
//!
//! Invariants:
//! S1. Memory is written only under the state's lock and only while the phase is `Open`: once `close` has returned, nothing
//!     is written any more.
//! S2. A failed or closed step reports nothing more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::link::AckSender;
use crate::lock;
use crate::names::{Party, StepKey};
use crate::peer_memory::Payload;
use crate::registration::StepRegistration;
use crate::steps::placing::{Placing, Slot};
use crate::steps::sending::Sending;
use crate::wire::{Ack, SliceHeader, encode_step_fields};

pub(crate) struct Step {
    pub(crate) key: StepKey,
    pub(crate) epoch: u64,
    /// Which party of the step this process is.
    pub(crate) party: Party,
    /// Epoch and key as they begin every slice.
    pub(crate) fields: Vec<u8>,
    routes: HashMap<Party, String>,
    relay_limit: usize,
    relay_held: AtomicUsize,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    first_row_at: OnceLock<Instant>,
    /// Whether the phase is `Open`, for those who only want to skip work.
    live: AtomicBool,
    events: UnboundedSender<Event>,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    placing: Placing,
    sending: Sending,
    /// Acknowledged to their sources through this process.
    relayed_bytes: u64,
    /// The call on which a source's slices come, and on which its acks go back.
    callers: HashMap<Party, AckSender>,
    /// Rows that a peer may still read in place, though the link to it is gone.
    kept: Vec<Bytes>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Open,
    Failed,
    Closed,
}

impl Step {
    pub(crate) fn new(registration: StepRegistration, events: UnboundedSender<Event>) -> Result<Step> {
        let StepRegistration { key, epoch, party, receives, routes, relay_bytes, send_bytes } = registration;
        let mut by_destination = HashMap::new();
        for route in routes {
            if by_destination.insert(route.destination, route.link).is_some() {
                let message = format!("routes: {} is listed twice", route.destination);
                return Err(Error::new(Code::PlanInvalid, message));
            }
        }
        Ok(Step {
            fields: encode_step_fields(epoch, &key),
            key,
            epoch,
            party,
            routes: by_destination,
            relay_limit: relay_bytes,
            relay_held: AtomicUsize::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            first_row_at: OnceLock::new(),
            live: AtomicBool::new(true),
            events,
            state: Mutex::new(State {
                phase: Phase::Open,
                placing: Placing::new(receives)?,
                sending: Sending::new(send_bytes),
                relayed_bytes: 0,
                callers: HashMap::new(),
                kept: Vec::new(),
            }),
        })
    }

    /// Reports what is complete because nothing is expected.
    pub(crate) fn announce(&self) {
        let state = lock(&self.state);
        for granule in state.placing.complete_granules() {
            self.report(Event::Granule { key: self.key.clone(), granule });
        }
        if state.placing.is_complete() {
            self.report(Event::Received { key: self.key.clone() });
        }
        if state.sending.is_complete() {
            self.report(Event::Sent { key: self.key.clone() });
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn link_to(&self, destination: Party) -> Result<&str> {
        self.routes.get(&destination).map(String::as_str).ok_or_else(|| {
            Error::new(Code::PlanInvalid, format!("routes: {} has no route to {destination}", self.party))
        })
    }

    /// Remembers the call on which a source's slices come. One source, one call: this also ends loops between relays.
    pub(crate) fn enter(&self, source: Party, caller: &AckSender) -> Result<()> {
        let Some(mut state) = self.open() else { return Ok(()) };
        let known = state.callers.entry(source).or_insert_with(|| caller.clone());
        if known.is_same(caller) {
            return Ok(());
        }
        Err(Error::new(Code::PlanInvalid, format!("slices of {source} come on two calls, expected one")))
    }

    pub(crate) fn admit(&self, header: &SliceHeader, payload_bytes: usize) -> Result<Option<Slot>> {
        let Some(state) = self.open() else { return Ok(None) };
        state.placing.admit(header, payload_bytes).map(Some)
    }

    /// Places bytes and acknowledges a source whose last byte this was. False when the step is over.
    pub(crate) fn place(&self, slot: Slot, at: u64, payload: Payload<'_>) -> Result<bool> {
        let Some(mut state) = self.open() else { return Ok(false) };
        let completed = state.placing.place(slot, at, payload)?;
        self.received_bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        self.first_row_at.get_or_init(Instant::now);
        for granule in completed.granules {
            self.report(Event::Granule { key: self.key.clone(), granule });
        }
        if let Some((source, bytes)) = completed.source
            && let Some(caller) = state.callers.get(&source)
        {
            caller.send(self.ack(source, bytes));
        }
        if completed.everything {
            self.report(Event::Received { key: self.key.clone() });
        }
        Ok(true)
    }

    fn ack(&self, source: Party, bytes: u64) -> Ack {
        let (epoch, step, destination) = (self.epoch, self.key.clone(), self.party);
        Ack { epoch, step, source, destination, bytes, refusal: None }
    }

    /// Books bytes about to be sent. False when the step is over, so that nobody needs them.
    pub(crate) fn queue(&self, bytes_to: &[(Party, u64)]) -> Result<bool> {
        let Some(mut state) = self.open() else { return Ok(false) };
        state.sending.queue(bytes_to)?;
        Ok(true)
    }

    /// An ack for rows of this process, or for rows that it forwarded.
    pub(crate) fn acknowledged(&self, ack: Ack) {
        let Some(mut state) = self.open() else { return };
        if ack.source != self.party {
            self.pass_back(&mut state, ack);
            return;
        }
        let destination = ack.destination.to_string();
        if let Some(refusal) = ack.refusal {
            let peer = refusal.peer.unwrap_or(destination);
            self.fail_locked(&mut state, &refusal.code, refusal.message, &peer);
            return;
        }
        match state.sending.acknowledge(ack.destination, ack.bytes) {
            Ok(true) => self.report(Event::Sent { key: self.key.clone() }),
            Ok(false) => (),
            Err(error) => self.fail_locked(&mut state, error.code.as_str(), error.message, &destination),
        }
    }

    /// An ack for rows that were forwarded here goes the way that they came.
    fn pass_back(&self, state: &mut State, ack: Ack) {
        let Some(caller) = state.callers.get(&ack.source) else { return };
        let bytes = ack.bytes;
        caller.send(ack);
        state.relayed_bytes = state.relayed_bytes.saturating_add(bytes);
        if bytes > 0 && state.relayed_bytes == self.relay_limit as u64 {
            self.report(Event::Relayed { key: self.key.clone() });
        }
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// How long ago the first bytes were placed; none were yet.
    pub(crate) fn since_first_row(&self) -> Option<Duration> {
        self.first_row_at.get().map(Instant::elapsed)
    }

    /// Reserves room for bytes to be forwarded. Fails with OVERLOADED.
    pub(crate) fn hold(self: &Arc<Step>, bytes: usize) -> Result<RelayHold> {
        let held = self.relay_held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let hold = RelayHold { step: self.clone(), bytes };
        if held > self.relay_limit {
            let message =
                format!("relayBytes: {held} bytes wait to be forwarded, expected at most {}", self.relay_limit);
            return Err(Error::new(Code::Overloaded, message));
        }
        Ok(hold)
    }

    /// Ends the step with its first cause. `peer` is who is to blame.
    pub(crate) fn fail(&self, code: &str, message: String, peer: &str) {
        if let Some(mut state) = self.open() {
            self.fail_locked(&mut state, code, message, peer);
        }
    }

    fn fail_locked(&self, state: &mut State, code: &str, message: String, peer: &str) {
        state.phase = Phase::Failed;
        self.live.store(false, Ordering::Relaxed);
        state.callers.clear();
        state.kept.clear();
        let (key, code, peer) = (self.key.clone(), code.to_string(), peer.to_string());
        self.report(Event::Failed { key, code, message, peer });
    }

    /// Lets go of all memory.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.phase = Phase::Closed;
        self.live.store(false, Ordering::Relaxed);
        state.callers.clear();
        state.kept.clear();
        state.placing = Placing::default();
    }

    /// Holds memory until the step is over.
    pub(crate) fn keep(&self, memory: Bytes) {
        if let Some(mut state) = self.open() {
            state.kept.push(memory);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).phase == Phase::Closed
    }

    fn open(&self) -> Option<MutexGuard<'_, State>> {
        let state = lock(&self.state);
        (state.phase == Phase::Open).then_some(state)
    }

    fn report(&self, event: Event) {
        // The receiver is gone only when the plane is closed, and then nobody listens.
        let _ = self.events.send(event);
    }
}

/// Relay memory in use, given back as chunks leave or when the queue is dropped.
pub(crate) struct RelayHold {
    step: Arc<Step>,
    bytes: usize,
}

impl RelayHold {
    pub(crate) fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.step.relay_held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for RelayHold {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}
