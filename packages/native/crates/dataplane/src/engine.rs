//! What the plane's thread and its callers share: steps, links and the paths between them.
//!
//! Locks are taken in the order steps, links, one step, one mailbox, and none is held while another thread is waited for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, timeout_at};

use crate::arena::Arena;
use crate::error::{Code, Error, Result};
use crate::events::Event;
use crate::link::{Links, Queued, Slice, Status, party_at};
use crate::lock;
use crate::memory::RegionPool;
use crate::names::{Party, StepKey};
use crate::options::{PlaneOptions, Transport};
use crate::peer_memory::Payload;
use crate::registration::{RowsToSend, StepRegistration};
use crate::steps::{Step, Steps};
use crate::tls::Tls;
use crate::traffic::{Counters, Traffic};
use crate::wire::{Ack, SliceHead};

pub(crate) struct Engine {
    pub(crate) options: PlaneOptions,
    pub(crate) tls: Option<Tls>,
    /// For strided rows to be packed in.
    pub(crate) pool: RegionPool,
    /// What peers of this host read in place; none when that is not wanted or not possible.
    pub(crate) arena: Option<Arc<Arena>>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) links: Mutex<Links>,
    steps: Mutex<Steps>,
    /// Told when steps are registered or closed.
    changed: Notify,
    events: UnboundedSender<Event>,
}

impl Engine {
    /// Fails with CONFIG when certificates cannot be used.
    pub(crate) fn new(options: PlaneOptions, pool: RegionPool, events: UnboundedSender<Event>) -> Result<Engine> {
        let shares = options.transport == Transport::Shared && options.shared_bytes > 0;
        Ok(Engine {
            tls: options.tls.clone().map(Tls::open).transpose()?,
            arena: if shares { pool.share(options.shared_bytes) } else { None },
            options,
            pool,
            traffic: Arc::default(),
            links: Mutex::default(),
            steps: Mutex::default(),
            changed: Notify::new(),
            events,
        })
    }

    pub(crate) fn register_step(&self, registration: StepRegistration) -> Result<()> {
        if self.events.is_closed() {
            return Err(Error::new(Code::Cancelled, "the plane is closed"));
        }
        let step = Arc::new(Step::new(registration, self.events.clone())?);
        lock(&self.steps).insert(step.clone())?;
        step.announce();
        self.changed.notify_waiters();
        Ok(())
    }

    /// All of it or, when some of it is refused, nothing. What goes on one link wakes it once.
    pub(crate) fn send(&self, key: &StepKey, sends: Vec<RowsToSend>) -> Result<()> {
        let step = self.registered_step(key)?;
        let mut by_link: Vec<(&str, Party, Vec<Slice>)> = Vec::new();
        let mut bytes_to = Vec::with_capacity(sends.len());
        for send in sends {
            let bytes = send.checked_bytes()?;
            let RowsToSend { destination, tensor, segment, place, .. } = send;
            let link = step.link_to(destination)?;
            if bytes.is_empty() {
                continue;
            }
            let (offset_bytes, segment_bytes) = (bytes.start, place.bytes() as u64);
            let head = SliceHead { source: step.party, destination, tensor, segment, offset_bytes, segment_bytes };
            let slice = Slice { step: step.clone(), head, payload: Queued::Rows(place, bytes.end) };
            bytes_to.push((destination, bytes.end - bytes.start));
            match by_link.iter_mut().find(|(name, ..)| *name == link) {
                Some((.., slices)) => slices.push(slice),
                None => by_link.push((link, destination, vec![slice])),
            }
        }
        if step.queue(&bytes_to)? {
            for (link, destination, slices) in by_link {
                // The step has failed then, which is the caller's answer.
                let _ = self.queue(&step, link, destination, slices);
            }
        }
        Ok(())
    }

    /// Queues on a link. Fails, and fails the step, when it is not connected. False when the step is over.
    fn queue(
        &self,
        step: &Step,
        link: &str,
        destination: Party,
        slices: impl IntoIterator<Item = Slice>,
    ) -> Result<bool> {
        let outlet = lock(&self.links).outlet(link);
        if !outlet.is_some_and(|outlet| outlet.push(slices, usize::MAX)) {
            let message = format!("link {link} to {destination} is not connected");
            step.fail(Code::PeerLost.as_str(), message.clone(), &Engine::lost_towards(step, destination).to_string());
            return Err(Error::new(Code::PeerLost, message));
        }
        let live = step.is_live();
        if !live {
            // It was closed while this was queued.
            lock(&self.links).purge();
        }
        Ok(live)
    }

    /// Who is lost when nothing can be sent to a party: whoever is next on the way to it, which may be a relay.
    pub(crate) fn lost_towards(step: &Step, destination: Party) -> Party {
        step.link_to(destination).ok().and_then(party_at).unwrap_or(destination)
    }

    fn registered_step(&self, key: &StepKey) -> Result<Arc<Step>> {
        let steps = lock(&self.steps);
        steps.get(key).ok_or_else(|| match steps.was_closed(key) {
            true => Error::new(Code::Cancelled, format!("step {key} is closed")),
            false => Error::new(Code::PlanInvalid, format!("step {key} is not registered")),
        })
    }

    /// The step of an incoming slice; `waits` for it to be registered, unless it is late.
    pub(crate) async fn find_step(&self, key: &StepKey, waits: bool) -> Option<Arc<Step>> {
        let deadline = Instant::now() + self.options.early_slice_timeout;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            {
                let steps = lock(&self.steps);
                let step = steps.get(key);
                if step.is_some() || !waits || steps.is_late(key) {
                    return step;
                }
            }
            timeout_at(deadline, changed).await.ok()?;
        }
    }

    /// Passes payload on to its destination. False when the step is over.
    pub(crate) fn forward(&self, step: &Arc<Step>, head: SliceHead, payload: Bytes) -> Result<bool> {
        if !step.is_live() {
            return Ok(false);
        }
        let link = step.link_to(head.destination)?;
        let bytes = payload.len();
        let hold = step.hold(bytes)?;
        let slice = Slice { step: step.clone(), head, payload: Queued::Relayed(payload, hold) };
        let live = self.queue(step, link, head.destination, [slice])?;
        self.traffic.count_relayed(bytes);
        Ok(live)
    }

    /// The same for rows in a peer's memory: they are copied, because a relay holds no other process's memory while it waits.
    pub(crate) fn forward_shared(&self, step: &Arc<Step>, head: SliceHead, payload: Payload<'_>) -> Result<bool> {
        let bytes = payload.len();
        let region = match self.pool.allocate_staging(bytes) {
            Some(region) => region,
            None => self.pool.allocate_dirty(bytes)?,
        };
        // SAFETY: nobody else has seen this region.
        unsafe { payload.copy_to(0, &region, 0, bytes, false) }
        // SAFETY: written completely above, and by nobody from now on.
        self.forward(step, head, unsafe { region.share(0, bytes) })
    }

    pub(crate) fn acknowledged(&self, ack: Ack) {
        let step = lock(&self.steps).get(&ack.step);
        if let Some(step) = step.filter(|step| step.epoch == ack.epoch) {
            step.acknowledged(ack);
        }
    }

    pub(crate) fn close_step(&self, key: &StepKey) {
        let step = lock(&self.steps).remove(key);
        self.changed.notify_waiters();
        let Some(step) = step else { return };
        step.close();
        lock(&self.links).purge();
    }

    pub(crate) fn step_sent_bytes(&self, key: &StepKey) -> Option<u64> {
        lock(&self.steps).get(key).map(|step| step.sent_bytes())
    }

    pub(crate) fn step_received_bytes(&self, key: &StepKey) -> Option<u64> {
        lock(&self.steps).get(key).map(|step| step.received_bytes())
    }

    pub(crate) fn since_first_row(&self, key: &StepKey) -> Option<Duration> {
        lock(&self.steps).get(key).and_then(|step| step.since_first_row())
    }

    pub(crate) fn counters(&self) -> Counters {
        let steps = lock(&self.steps).len();
        self.traffic.counters(steps, lock(&self.links).len())
    }

    pub(crate) fn link_lost(&self, link: &str, id: u64, reason: &str) {
        let removed = lock(&self.links).lose(link, id);
        if let Some(removed) = removed {
            self.report_lost(link, reason);
            removed.end(Status::new(Status::UNAVAILABLE, reason));
        }
    }

    /// A peer's call was answered to its end.
    pub(crate) fn call_ended(&self, link: &str, id: u64) {
        if lock(&self.links).leave(link, id) {
            self.report_lost(link, "the peer ended its calls");
        }
    }

    fn report_lost(&self, link: &str, reason: &str) {
        // The receiver is gone only when the plane is closed, and then nobody listens.
        let _ = self.events.send(Event::LinkLost { link: link.to_string(), reason: reason.to_string() });
    }

    pub(crate) fn dial_failed(&self, link: &str, id: u64) {
        // Not an event: whoever dials is told by the result.
        drop(lock(&self.links).lose(link, id));
    }

    pub(crate) fn disconnect(&self, link: &str) {
        let removed = lock(&self.links).remove_dialled(link);
        removed.end(Status::new(Status::ABORTED, "disconnected"));
    }

    /// Lets go of all memory, when the thread has ended.
    pub(crate) fn clear(&self) {
        let steps = lock(&self.steps).drain();
        steps.iter().for_each(|step| step.close());
        let links = lock(&self.links).drain();
        links.into_iter().for_each(|link| link.end(Status::new(Status::UNAVAILABLE, "the plane is closed")));
    }
}
