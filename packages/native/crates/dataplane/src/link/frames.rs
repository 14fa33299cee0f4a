//! Incoming bodies, and the ack streams that are one of their two kinds.

use std::error::Error;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::engine::Engine;
use crate::link::Status;
use crate::wire::{AckReader, WireError};

/// What a peer sends on one call.
pub(super) struct Frames {
    body: Incoming,
    /// How the peer said that the call ended; only in responses.
    status: Option<Status>,
}

impl Frames {
    pub(super) fn new(body: Incoming) -> Frames {
        Frames { body, status: None }
    }

    /// The next bytes; none at the end. Fails when the call or its connection breaks.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
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

/// Reads acks until the stream ends.
pub(super) async fn read_acks(engine: &Engine, frames: &mut Frames) -> Result<(), Status> {
    let mut reader = AckReader::default();
    while let Some(data) = frames.next().await? {
        reader.push(&data);
        while let Some(ack) = reader.next()? {
            engine.acknowledged(ack);
        }
    }
    Ok(reader.finish()?)
}
