//! Bodies of calls: HTTP/2 DATA whose payload bytes are references to regions, not copies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};

use crate::arena::Arena;
use crate::engine::Engine;
use crate::error::{Code, Result as PlaneResult};
use crate::link::mailbox::{Mailbox, Next};
use crate::link::outlet::{Chunk, ChunkSource, Outlet};
use crate::link::{CallEnd, Sharing, Status};
use crate::memory::{Region, RegionPool};
use crate::peer_memory::SharedRows;
use crate::traffic::Traffic;
use crate::wire::{Reply, encode_reply, put_shared_slice, put_slice_head};

/// Payloads up to this size are copied behind their header, so that many short segments share one frame.
const SMALL_BYTES: usize = 16 << 10;
/// A frame of small messages is sent when it has grown to this.
const BATCH_BYTES: usize = 64 << 10;

/// What this side sends on a call.
pub(crate) enum CallBody {
    Empty,
    Slices(SliceBody),
    Acks(AckBody),
}

impl Body for CallBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.get_mut() {
            CallBody::Empty => None,
            CallBody::Slices(body) => ready!(body.poll_frame(cx)),
            CallBody::Acks(body) => ready!(body.poll_frame(cx)),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, CallBody::Empty)
    }
}

/// Ends a body: a response says how in its trailers, a request has none. Knows whether that was reached.
enum Ending {
    Request,
    Response(CallEnd),
    Done,
}

impl Ending {
    fn reach(&mut self, status: Status) -> Option<Frame<Bytes>> {
        match std::mem::replace(self, Ending::Done) {
            Ending::Request | Ending::Done => None,
            Ending::Response(end) => {
                end.completed();
                Some(Frame::trailers(status.to_trailers()))
            }
        }
    }
}

impl From<Option<CallEnd>> for Ending {
    fn from(response: Option<CallEnd>) -> Ending {
        response.map_or(Ending::Request, Ending::Response)
    }
}

pub(crate) struct SliceBody {
    outlet: Arc<Outlet>,
    pool: RegionPool,
    traffic: Arc<Traffic>,
    chunk_bytes: usize,
    /// What the peer reads in place.
    arena: Option<Arc<Arena>>,
    window_bytes: usize,
    /// Headers and small messages of the frame being built.
    batch: BytesMut,
    /// Goes out after the batch that ends with its header.
    payload: Option<Bytes>,
    ending: Ending,
}

impl SliceBody {
    /// `response` is the call to be told when a response ends; none for requests.
    pub(crate) fn new(
        outlet: Arc<Outlet>,
        engine: &Engine,
        sharing: Option<Arc<Sharing>>,
        response: Option<CallEnd>,
    ) -> SliceBody {
        SliceBody {
            outlet,
            pool: engine.pool.clone(),
            traffic: engine.traffic.clone(),
            chunk_bytes: engine.options.chunk_bytes,
            arena: sharing.map(|sharing| sharing.own.clone()),
            window_bytes: engine.options.shared_window_bytes,
            batch: BytesMut::new(),
            payload: None,
            ending: response.into(),
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        if let Some(payload) = self.payload.take() {
            return Poll::Ready(Some(Frame::data(payload)));
        }
        while self.payload.is_none() && self.batch.len() < BATCH_BYTES {
            let (lent, chunk_bytes) = (self.outlet.lent(), self.chunk_bytes);
            let has_room = || lent.has_room(self.window_bytes);
            match self.outlet.poll_next(cx, |queue| has_room().then(|| queue.take_chunk(chunk_bytes)).flatten()) {
                Poll::Ready(Next::Item(chunk)) => self.add(chunk),
                _ if !self.batch.is_empty() => break,
                Poll::Ready(Next::End(status)) => return Poll::Ready(self.ending.reach(status)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Some(Frame::data(self.batch.split().freeze())))
    }

    fn add(&mut self, chunk: Chunk) {
        let Chunk { step, head, bytes, source } = chunk;
        let from = head.offset_bytes as usize;
        if bytes <= SMALL_BYTES {
            put_slice_head(&mut self.batch, &step.fields, head, bytes);
            source.for_each_run(from, bytes, |run| self.batch.put_slice(run));
        } else if let Some((rows, memory)) = self.share(&source, from, bytes) {
            put_shared_slice(&mut self.batch, &step.fields, head, rows);
            self.outlet.lent().lend(step.clone(), memory, bytes);
            self.traffic.count_shared(bytes);
        } else {
            match self.payload(source, from, bytes) {
                Ok(payload) => self.payload = Some(payload),
                Err(error) => {
                    step.fail(Code::Overloaded.as_str(), error.message, "");
                    return;
                }
            }
            put_slice_head(&mut self.batch, &step.fields, head, bytes);
        }
        step.count_sent(bytes);
        self.traffic.count_sent(bytes);
    }

    /// Where the peer reads a chunk in place, and what holds it until then: where it lies, or a copy. None when the peer shares no
    /// memory with this process, or what it shares is full.
    fn share(&self, source: &ChunkSource, from: usize, bytes: usize) -> Option<(SharedRows, Bytes)> {
        let arena = self.arena.as_ref()?;
        if let Some(found) = source.in_arena(arena, from, bytes) {
            return Some(found);
        }
        let staged = pack(self.pool.allocate_staging(bytes)?, source, from, bytes);
        self.traffic.count_staged(bytes);
        let offset = arena.offset_of(staged.as_ptr(), bytes).expect("staged there");
        Some((SharedRows::one(offset, bytes), staged))
    }

    /// A chunk to follow its header: by reference where it is one range of memory.
    fn payload(&self, source: ChunkSource, from: usize, bytes: usize) -> PlaneResult<Bytes> {
        Ok(match source {
            ChunkSource::Relayed(payload) => payload,
            // SAFETY: rows handed to `send` are not written until they are sent or the step is closed (M2).
            ChunkSource::Rows(place) if place.is_contiguous() => unsafe {
                place.region.share(place.offset_bytes + from, bytes)
            },
            // Recycled, as an allocation per chunk would fault its pages in every time.
            rows => pack(self.pool.allocate_dirty(bytes)?, &rows, from, bytes),
        })
    }
}

/// Copies a chunk into a region that nobody else has seen.
fn pack(region: Region, source: &ChunkSource, from: usize, bytes: usize) -> Bytes {
    match source {
        // SAFETY: nobody else has seen this region.
        ChunkSource::Relayed(payload) => unsafe { region.write(0, payload) },
        // SAFETY: as above; and rows handed to `send` are not written until they are sent or the step is closed (M2).
        ChunkSource::Rows(place) => unsafe { place.gather(from, bytes, &region) },
    }
    // SAFETY: written completely above, and by nobody from now on.
    unsafe { region.share(0, bytes) }
}

pub(crate) struct AckBody {
    acks: Arc<Mailbox<Reply>>,
    ending: Ending,
}

impl AckBody {
    pub(crate) fn new(acks: Arc<Mailbox<Reply>>, response: Option<CallEnd>) -> AckBody {
        AckBody { acks, ending: response.into() }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        Poll::Ready(match ready!(self.acks.poll_next(cx, |queue| queue.pop_front())) {
            Next::Item(reply) => Some(Frame::data(encode_reply(&reply))),
            Next::End(status) => self.ending.reach(status),
        })
    }
}

impl Drop for AckBody {
    fn drop(&mut self) {
        self.acks.cut(Status::new(Status::UNAVAILABLE, "the call is over"));
    }
}

impl Drop for SliceBody {
    fn drop(&mut self) {
        self.outlet.cut(Status::new(Status::UNAVAILABLE, "the call is over"));
    }
}
