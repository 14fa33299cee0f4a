//! The sending end of a link: slices queued by reference, cut into chunks when the connection has room.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::link::mailbox::Mailbox;
use crate::registration::SegmentPlace;
use crate::steps::{RelayHold, Step};
use crate::wire::SliceHead;

/// Rows on their way out. `head.offset_bytes` advances as chunks are taken.
pub(crate) struct Slice {
    pub(crate) step: Arc<Step>,
    pub(crate) head: SliceHead,
    pub(crate) payload: Payload,
}

pub(crate) enum Payload {
    /// Rows of this process. The offset within the segment is the head's.
    Rows(SegmentPlace),
    /// Passed through for another party.
    Relayed(Bytes, RelayHold),
}

impl Payload {
    fn left(&self, head: &SliceHead) -> usize {
        match self {
            Payload::Rows(_) => (head.segment_bytes - head.offset_bytes) as usize,
            Payload::Relayed(bytes, _) => bytes.len(),
        }
    }
}

/// One message to be sent; its payload is packed only now.
pub(crate) struct Chunk {
    pub(crate) step: Arc<Step>,
    pub(crate) head: SliceHead,
    pub(crate) bytes: usize,
    pub(crate) source: ChunkSource,
}

pub(crate) enum ChunkSource {
    Rows(SegmentPlace),
    Relayed(Bytes),
}

/// The queue of one link. A sequence owner's outlet exists before its Pull call does.
pub(crate) struct Outlet {
    queue: Mailbox<Slice>,
    attached: AtomicBool,
}

impl Outlet {
    pub(crate) fn waiting() -> Outlet {
        Outlet { queue: Mailbox::new(), attached: AtomicBool::new(false) }
    }

    /// Claims the outlet for a call; false when it has one already.
    pub(crate) fn attach(&self) -> bool {
        !self.attached.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed)
    }

    /// Drops what a closed or failed step has queued; true when the queue is empty then.
    pub(crate) fn purge(&self) -> bool {
        self.queue.retain(|slice| slice.step.is_live())
    }
}

impl Deref for Outlet {
    type Target = Mailbox<Slice>;

    fn deref(&self) -> &Mailbox<Slice> {
        &self.queue
    }
}

/// Cuts the next chunk off the queue, passing over slices of dead steps.
pub(crate) fn take_chunk(queue: &mut VecDeque<Slice>, chunk_bytes: usize) -> Option<Chunk> {
    loop {
        let slice = queue.front_mut()?;
        if !slice.step.is_live() {
            queue.pop_front();
            continue;
        }
        let head = slice.head;
        let left = slice.payload.left(&head);
        let bytes = left.min(chunk_bytes);
        let source = match &mut slice.payload {
            Payload::Rows(place) => ChunkSource::Rows(place.clone()),
            Payload::Relayed(payload, hold) => {
                hold.release(bytes);
                ChunkSource::Relayed(payload.split_to(bytes))
            }
        };
        slice.head.offset_bytes += bytes as u64;
        let step = slice.step.clone();
        if bytes == left {
            queue.pop_front();
        }
        return Some(Chunk { step, head, bytes, source });
    }
}

#[cfg(test)]
#[path = "outlet_test.rs"]
mod tests;
