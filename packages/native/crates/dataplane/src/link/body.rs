//! Bodies of calls: HTTP/2 DATA whose payload bytes are references to regions, not copies.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};

use crate::engine::Engine;
use crate::error::{Code, Result as PlaneResult};
use crate::link::mailbox::{Mailbox, Next};
use crate::link::outlet::{Chunk, ChunkSource, Outlet, take_chunk};
use crate::link::{CallEnd, Status};
use crate::memory::RegionPool;
use crate::registration::SegmentPlace;
use crate::traffic::Traffic;
use crate::wire::{Ack, encode_ack, put_slice_head};

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
    /// Headers and small messages of the frame being built.
    batch: BytesMut,
    /// Goes out after the batch that ends with its header.
    payload: Option<Bytes>,
    ending: Ending,
}

impl SliceBody {
    /// `response` is the call to be told when a response ends; none for requests.
    pub(crate) fn new(outlet: Arc<Outlet>, engine: &Engine, response: Option<CallEnd>) -> SliceBody {
        SliceBody {
            outlet,
            pool: engine.pool.clone(),
            traffic: engine.traffic.clone(),
            chunk_bytes: engine.options.chunk_bytes,
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
            let chunk_bytes = self.chunk_bytes;
            match self.outlet.poll_next(cx, |queue| take_chunk(queue, chunk_bytes)) {
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
            match &source {
                ChunkSource::Relayed(payload) => self.batch.put_slice(payload),
                ChunkSource::Rows(place) => {
                    for_each_run(place, from, bytes, |run| self.batch.put_slice(run));
                }
            }
        } else {
            let payload = match source {
                ChunkSource::Relayed(payload) => payload,
                ChunkSource::Rows(place) if place.is_contiguous() => {
                    // SAFETY: rows handed to `send` are not written until they are sent or the step is closed (M2).
                    unsafe { place.region.share(place.offset_bytes + from, bytes) }
                }
                ChunkSource::Rows(place) => match self.pack(&place, from, bytes) {
                    Ok(packed) => packed,
                    Err(error) => {
                        step.fail(Code::Overloaded.as_str(), error.message, "");
                        return;
                    }
                },
            };
            put_slice_head(&mut self.batch, &step.fields, head, bytes);
            self.payload = Some(payload);
        }
        step.count_sent(bytes);
        self.traffic.count_sent(bytes);
    }

    /// Copies strided rows into a recycled region: an allocation per chunk would fault its pages in every time.
    fn pack(&self, place: &SegmentPlace, from: usize, bytes: usize) -> PlaneResult<Bytes> {
        let region = self.pool.allocate_dirty(bytes)?;
        let mut at = 0;
        for_each_run(place, from, bytes, |run| {
            // SAFETY: nobody else has seen this region.
            unsafe { region.write(at, run) };
            at += run.len();
        });
        // SAFETY: written completely above, and by nobody from now on.
        Ok(unsafe { region.share(0, bytes) })
    }
}

/// Calls `f` with the contiguous runs of memory that hold bytes `[from, from + bytes)` of a segment.
fn for_each_run(place: &SegmentPlace, from: usize, bytes: usize, mut f: impl FnMut(&[u8])) {
    place.for_each_run(from, bytes, |offset, length| {
        // SAFETY: rows handed to `send` are not written until they are sent or the step is closed (M2).
        f(unsafe { place.region.slice(offset, length) });
    });
}

pub(crate) struct AckBody {
    acks: Arc<Mailbox<Ack>>,
    ending: Ending,
}

impl AckBody {
    pub(crate) fn new(acks: Arc<Mailbox<Ack>>, response: Option<CallEnd>) -> AckBody {
        AckBody { acks, ending: response.into() }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        Poll::Ready(match ready!(self.acks.poll_next(cx, |queue| queue.pop_front())) {
            Next::Item(ack) => Some(Frame::data(encode_ack(&ack))),
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
