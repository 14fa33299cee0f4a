//! Which links exist. What a link is called is what steps route to.
//!
//! Invariants:
//! L1. A call or dialled link that was replaced, or that its owner disconnected, ends without an event: whoever did it knows.
//! L2. Otherwise the end of a link is reported once. Push and Pull of one party are one link: the loss of either ends both.
//! L3. One party, one connection: a call on another connection replaces all that the party had. Otherwise the late end of its
//!     old Pull would take its new Push along.

use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::engine::Engine;
use crate::link::mailbox::Mailbox;
use crate::link::party::is_owner;
use crate::link::serve::ActiveCall;
use crate::link::{Outlet, Status};
use crate::wire::Reply;

#[derive(Default)]
pub(crate) struct Links {
    /// What can be sent on.
    outlets: HashMap<String, Arc<Outlet>>,
    dialled: HashMap<String, Dialled>,
    accepted: HashMap<String, Accepted>,
    last_id: u64,
}

struct Dialled {
    id: u64,
    task: Option<AbortHandle>,
}

/// What a peer opened.
struct Accepted {
    connection: u64,
    calls: Vec<Call>,
}

struct Call {
    id: u64,
    reader: Option<AbortHandle>,
    kind: CallKind,
}

pub(crate) enum CallKind {
    Push(Arc<Mailbox<Reply>>),
    Pull(Arc<Outlet>),
}

/// Links to be ended once the table's lock is released: ending them runs code that takes it.
#[derive(Default)]
#[must_use]
pub(crate) struct Removed {
    calls: Vec<Call>,
    outlet: Option<Arc<Outlet>>,
    task: Option<AbortHandle>,
}

impl Removed {
    pub(crate) fn end(self, status: Status) {
        self.task.into_iter().for_each(|task| task.abort());
        self.outlet.into_iter().for_each(|outlet| outlet.cut(status.clone()));
        for Call { reader, kind, .. } in self.calls {
            reader.into_iter().for_each(|reader| reader.abort());
            match kind {
                CallKind::Push(acks) => acks.finish(status.clone()),
                CallKind::Pull(outlet) => outlet.cut(status.clone()),
            }
        }
    }
}

impl Links {
    /// What slices for `link` are queued on; none when nobody is connected under that name and nobody will dial in.
    pub(crate) fn outlet(&mut self, link: &str) -> Option<Arc<Outlet>> {
        if let Some(outlet) = self.outlets.get(link) {
            return Some(outlet.clone());
        }
        is_owner(link).then(|| {
            let outlet = Arc::new(Outlet::waiting());
            self.outlets.insert(link.to_string(), outlet.clone());
            outlet
        })
    }

    /// Drops what dead steps have queued, and outlets that wait with nothing to send.
    pub(crate) fn purge(&mut self) {
        self.outlets.retain(|_, outlet| !outlet.purge() || outlet.is_attached());
    }

    pub(crate) fn len(&self) -> usize {
        self.outlets.len()
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Begins a dialled link, in place of the one that had its name.
    pub(crate) fn begin_dial(&mut self, link: &str) -> (u64, Removed) {
        let removed = self.remove_dialled(link);
        let id = self.new_id();
        self.dialled.insert(link.to_string(), Dialled { id, task: None });
        (id, removed)
    }

    /// False when the link was replaced or has ended in the meantime.
    pub(crate) fn set_dial_task(&mut self, link: &str, id: u64, task: AbortHandle) -> bool {
        let dialled = self.dialled.get_mut(link).filter(|dialled| dialled.id == id);
        dialled.map(|dialled| dialled.task = Some(task)).is_some()
    }

    /// Makes a connected link usable; false when it was replaced or disconnected in the meantime.
    pub(crate) fn finish_dial(&mut self, link: &str, id: u64, outlet: Arc<Outlet>) -> bool {
        let current = self.is_dialled(link, id);
        if current {
            self.outlets.insert(link.to_string(), outlet);
        }
        current
    }

    fn is_dialled(&self, link: &str, id: u64) -> bool {
        self.dialled.get(link).is_some_and(|dialled| dialled.id == id)
    }

    pub(crate) fn remove_dialled(&mut self, link: &str) -> Removed {
        let Some(Dialled { task, .. }) = self.dialled.remove(link) else { return Removed::default() };
        Removed { calls: Vec::new(), outlet: self.outlets.remove(link), task }
    }

    /// The outlet of a Pull call that begins: what waits for it, or a new one.
    pub(crate) fn attach(&mut self, link: &str) -> Arc<Outlet> {
        if let Some(outlet) = self.outlets.get(link)
            && outlet.attach()
        {
            return outlet.clone();
        }
        let outlet = Arc::new(Outlet::waiting());
        outlet.attach();
        self.outlets.insert(link.to_string(), outlet.clone());
        outlet
    }

    /// Enters an accepted call, in place of the party's earlier call of its kind and of all on another connection.
    pub(crate) fn enter(&mut self, link: &str, connection: u64, kind: CallKind) -> (u64, Removed) {
        let id = self.new_id();
        let Accepted { connection: before, mut calls } =
            self.accepted.remove(link).unwrap_or(Accepted { connection, calls: Vec::new() });
        let stays = |call: &Call| before == connection && discriminant(&call.kind) != discriminant(&kind);
        let replaced: Vec<Call> = calls.extract_if(.., |call| !stays(call)).collect();
        self.forget_outlets(link, &replaced);
        calls.push(Call { id, reader: None, kind });
        self.accepted.insert(link.to_string(), Accepted { connection, calls });
        (id, Removed { calls: replaced, ..Removed::default() })
    }

    pub(crate) fn set_reader(&mut self, link: &str, id: u64, reader: AbortHandle) {
        let calls = self.accepted.get_mut(link).into_iter().flat_map(|accepted| &mut accepted.calls);
        calls.filter(|call| call.id == id).for_each(|call| call.reader = Some(reader.clone()));
    }

    /// Whether a peer that dialled in has taken nothing for so long of what waits for it.
    pub(crate) fn is_stalled(&self, connection: u64, patience: Duration) -> bool {
        let accepted = self.accepted.values().filter(|accepted| accepted.connection == connection);
        accepted.flat_map(|accepted| &accepted.calls).any(|call| match &call.kind {
            CallKind::Push(acks) => acks.is_stalled(patience),
            CallKind::Pull(outlet) => outlet.is_stalled(patience),
        })
    }

    /// Removes a link one of whose calls broke; none when it is not current any more.
    pub(crate) fn lose(&mut self, link: &str, id: u64) -> Option<Removed> {
        if self.is_dialled(link, id) {
            return Some(self.remove_dialled(link));
        }
        self.accepted.get(link)?.calls.iter().find(|call| call.id == id)?;
        let Accepted { calls, .. } = self.accepted.remove(link)?;
        self.forget_outlets(link, &calls);
        Some(Removed { calls, ..Removed::default() })
    }

    /// Removes a call that ended as it should; true when it was the last one of its party.
    pub(crate) fn leave(&mut self, link: &str, id: u64) -> bool {
        let Some(Accepted { calls, .. }) = self.accepted.get_mut(link) else { return false };
        let Some(at) = calls.iter().position(|call| call.id == id) else { return false };
        let call = calls.swap_remove(at);
        let last = calls.is_empty();
        if last {
            self.accepted.remove(link);
        }
        self.forget_outlets(link, &[call]);
        last
    }

    fn forget_outlets(&mut self, link: &str, calls: &[Call]) {
        for call in calls {
            if let CallKind::Pull(outlet) = &call.kind
                && self.outlets.get(link).is_some_and(|current| Arc::ptr_eq(current, outlet))
            {
                self.outlets.remove(link);
            }
        }
    }

    /// Forgets everything; for the end of the plane.
    pub(crate) fn drain(&mut self) -> Vec<Removed> {
        self.dialled.clear();
        let outlets = self.outlets.drain().map(|(_, outlet)| Removed { outlet: Some(outlet), ..Removed::default() });
        let calls = self.accepted.drain().map(|(_, Accepted { calls, .. })| Removed { calls, ..Removed::default() });
        outlets.chain(calls).collect()
    }
}

/// Reports a link as lost when the task that reads it panics: a broken invariant must not look like a silent peer.
pub(super) struct OnPanic<'a> {
    pub(super) engine: &'a Engine,
    pub(super) link: &'a str,
    pub(super) id: u64,
}

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.engine.link_lost(self.link, self.id, "INVARIANT: the link's task panicked");
        }
    }
}

/// Belongs to the response body of an accepted call: knows whether it was sent to its end or dropped before.
pub(crate) struct CallEnd {
    engine: Arc<Engine>,
    link: String,
    id: u64,
    completed: bool,
    _active: ActiveCall,
}

impl CallEnd {
    pub(super) fn new(engine: Arc<Engine>, link: String, id: u64, active: ActiveCall) -> CallEnd {
        CallEnd { engine, link, id, completed: false, _active: active }
    }

    /// The last frame was sent.
    pub(crate) fn completed(mut self) {
        self.completed = true;
    }
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        if self.completed {
            self.engine.call_ended(&self.link, self.id);
        } else {
            self.engine.link_lost(&self.link, self.id, "the call was cut");
        }
    }
}

#[cfg(test)]
#[path = "table_test.rs"]
mod tests;
