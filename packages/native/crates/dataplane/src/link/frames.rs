//! Incoming bodies, and the replies that are one of their two kinds.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::engine::Engine;
use crate::link::{Outlet, Status};
use crate::wire::{Reply, ReplyReader, WireError};

/// What a peer sends on one call.
pub(super) struct Frames {
    body: Incoming,
    /// Longest that this side waits for the rest of one message.
    patience: Duration,
    /// The message that was waited for last, and for how long.
    waited: (u64, Duration),
    /// How the peer said that the call ended; only in responses.
    status: Option<Status>,
}

impl Frames {
    pub(super) fn new(body: Incoming, patience: Duration) -> Frames {
        Frames { body, patience, waited: (0, Duration::ZERO), status: None }
    }

    /// The next bytes; none at the end. Fails when the call or its connection breaks, or the rest of the message with the
    /// number `begun` takes too long. Between messages, none, the peer may be silent as long as it lives.
    pub(super) async fn next(&mut self, begun: Option<u64>) -> Result<Option<Bytes>, Status> {
        let Some(number) = begun else { return self.frame().await };
        let (before, waited) = self.waited;
        let waited = if before == number { waited } else { Duration::ZERO };
        let since = Instant::now();
        let next = timeout(self.patience.saturating_sub(waited), self.frame()).await;
        self.waited = (number, waited + since.elapsed());
        next.unwrap_or_else(|_| {
            let message = format!("a message has not come within {:?} of its beginning", self.patience);
            Err(Status::new(Status::DEADLINE_EXCEEDED, message))
        })
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, Status> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Status::new(Status::UNAVAILABLE, with_sources(&error)))?;
            match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(frame) => self.status = frame.trailers_ref().and_then(Status::from_headers),
            }
        }
        Ok(None)
    }

    /// Why a call ended that should not have.
    pub(super) fn ending(self) -> Status {
        match self.status {
            Some(status) if !status.message.is_empty() => status,
            _ => Status::new(Status::UNAVAILABLE, "the peer ended the call"),
        }
    }
}

/// An error and what it was caused by, in one line.
pub(super) fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Status {
        let code = match error {
            WireError::Compressed => Status::UNIMPLEMENTED,
            WireError::MessageTooLong { .. } | WireError::HeaderTooLong { .. } => Status::RESOURCE_EXHAUSTED,
            _ => Status::INVALID_ARGUMENT,
        };
        Status::new(code, error.to_string())
    }
}

/// Reads what comes back on a call whose slices leave by `outlet`, until the stream ends.
pub(super) async fn read_replies(engine: &Engine, outlet: &Outlet, frames: &mut Frames) -> Result<(), Status> {
    let mut reader = ReplyReader::default();
    while let Some(data) = frames.next(reader.begun()).await? {
        reader.push(&data);
        while let Some(reply) = reader.next()? {
            match reply {
                Reply::Ack(ack) => engine.acknowledged(ack),
                Reply::Released(total) if outlet.release(total) => (),
                Reply::Released(total) => {
                    let message = format!("released: {total}, expected no more slices than share rows");
                    return Err(Status::new(Status::INVALID_ARGUMENT, message));
                }
            }
        }
    }
    Ok(reader.finish()?)
}
