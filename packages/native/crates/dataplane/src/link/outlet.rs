//! The sending end of a link: slices queued by reference, cut into chunks when the connection has room.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::arena::Arena;
use crate::link::job_queue::JobQueue;
use crate::link::lent::Lent;
use crate::link::mailbox::Mailbox;
use crate::peer_memory::SharedRows;
use crate::registration::SegmentPlace;
use crate::steps::{RelayHold, Step};
use crate::wire::SliceHead;

/// Rows on their way out. `head.offset_bytes` advances as chunks are taken.
pub(crate) struct Slice {
    pub(crate) step: Arc<Step>,
    pub(crate) head: SliceHead,
    pub(crate) payload: Queued,
}

impl Slice {
    /// Cuts off what comes next of it, at most `limit` bytes; true beside it when nothing is left then.
    pub(crate) fn cut(&mut self, limit: usize) -> (Chunk, bool) {
        let head = self.head;
        let left = self.payload.left(&head);
        let (bytes, source) = match &mut self.payload {
            Queued::Rows(place, _) => {
                let bytes = place.cut(head.offset_bytes as usize, limit.min(left));
                (bytes, ChunkSource::Rows(place.clone()))
            }
            Queued::Relayed(payload, hold) => {
                let bytes = left.min(limit);
                hold.release(bytes);
                (bytes, ChunkSource::Relayed(payload.split_to(bytes)))
            }
        };
        self.head.offset_bytes += bytes as u64;
        (Chunk { step: self.step.clone(), head, bytes, source }, bytes == left)
    }
}

pub(crate) enum Queued {
    /// Rows of this process: bytes of a segment from the head's offset up to this end.
    Rows(SegmentPlace, u64),
    /// Passed through for another party.
    Relayed(Bytes, RelayHold),
}

impl Queued {
    fn left(&self, head: &SliceHead) -> usize {
        match self {
            Queued::Rows(_, end) => (end - head.offset_bytes) as usize,
            Queued::Relayed(bytes, _) => bytes.len(),
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

impl ChunkSource {
    /// Calls `f` with the contiguous runs of memory that hold a chunk's bytes, `from` on in its segment.
    pub(crate) fn for_each_run(&self, from: usize, bytes: usize, mut f: impl FnMut(&[u8])) {
        match self {
            ChunkSource::Relayed(payload) => f(payload),
            ChunkSource::Rows(place) => place.for_each_run(from, bytes, |offset, length| {
                // SAFETY: rows handed to `send` are not written until they are sent or the step is closed (M2).
                f(unsafe { place.region.slice(offset, length) });
            }),
        }
    }

    /// Where a chunk lies in the arena, and what holds it; none when it lies elsewhere.
    pub(crate) fn in_arena(&self, arena: &Arena, from: usize, bytes: usize) -> Option<(SharedRows, Bytes)> {
        let place = match self {
            ChunkSource::Relayed(payload) => {
                let offset = arena.offset_of(payload.as_ptr(), bytes)?;
                return Some((SharedRows::one(offset, bytes), payload.clone()));
            }
            ChunkSource::Rows(place) => place,
        };
        let region = arena.offset_of(place.region.as_ptr(), place.region.len())?;
        // SAFETY: only what is read holds the bytes: another process, under the same rule as `for_each_run`.
        let memory = unsafe { place.region.share(0, place.region.len()) };
        if place.is_contiguous() {
            return Some((SharedRows::one(region + place.offset_bytes + from, bytes), memory));
        }
        // Chunks are cut so that they are whole rows, or a part of one.
        let (row, column) = (from / place.row_bytes, from % place.row_bytes);
        let first = region + place.offset_bytes + row * place.row_stride_bytes + column;
        if bytes <= place.row_bytes - column {
            return Some((SharedRows::one(first, bytes), memory));
        }
        let rows = SharedRows {
            offset_bytes: first as u64,
            rows: (bytes / place.row_bytes) as u64,
            row_bytes: place.row_bytes as u64,
            row_stride_bytes: place.row_stride_bytes as u64,
        };
        Some((rows, memory))
    }
}

/// The queue of one link. A sequence owner's outlet exists before its Pull call does.
pub(crate) struct Outlet {
    queue: Mailbox<Slice, JobQueue>,
    attached: AtomicBool,
    lent: Lent,
}

impl Outlet {
    pub(crate) fn waiting() -> Outlet {
        Outlet { queue: Mailbox::new(), attached: AtomicBool::new(false), lent: Lent::default() }
    }

    /// Claims the outlet for a call; false when it has one already.
    pub(crate) fn attach(&self) -> bool {
        self.queue.restart();
        !self.attached.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Relaxed)
    }

    pub(crate) fn lent(&self) -> &Lent {
        &self.lent
    }

    /// The peer has read so many slices with shared rows. False when there were not so many.
    pub(crate) fn release(&self, total: u64) -> bool {
        let fits = self.lent.release(total);
        self.queue.wake();
        fits
    }

    /// Drops what a closed or failed step has queued; true when the queue is empty then.
    pub(crate) fn purge(&self) -> bool {
        self.queue.retain(|slice| slice.step.is_live())
    }
}

impl Deref for Outlet {
    type Target = Mailbox<Slice, JobQueue>;

    fn deref(&self) -> &Mailbox<Slice, JobQueue> {
        &self.queue
    }
}
