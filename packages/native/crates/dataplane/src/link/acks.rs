//! The way back: acks for slices that came on a call.

use std::sync::Arc;

use crate::link::Status;
use crate::link::mailbox::Mailbox;
use crate::wire::{Ack, Reply};

/// A peer that does not read its replies loses those beyond this.
const WAITING_ACKS: usize = 4096;

/// Held by the reader of a call and by every step that owes acks on it; when the last one is dropped, the ack stream ends.
/// So a peer may end its requests and still hear what became of them.
#[derive(Clone)]
pub(crate) struct AckSender(Arc<LastSender>);

struct LastSender(Arc<Mailbox<Reply>>);

impl AckSender {
    pub(crate) fn new(mailbox: Arc<Mailbox<Reply>>) -> AckSender {
        AckSender(Arc::new(LastSender(mailbox)))
    }

    pub(crate) fn send(&self, ack: Ack) {
        self.0.0.push([Reply::Ack(ack)], WAITING_ACKS);
    }

    /// So many slices with shared rows were read so far.
    pub(crate) fn release(&self, total: u64) {
        self.0.0.push([Reply::Released(total)], WAITING_ACKS);
    }

    pub(crate) fn is_same(&self, other: &AckSender) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for LastSender {
    fn drop(&mut self) {
        self.0.finish(Status::ok());
    }
}
