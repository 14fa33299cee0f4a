//! How a gRPC call ends.

use http::{HeaderMap, HeaderValue, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::link::CallBody;

/// What gRPC wants escaped in `grpc-message`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Status {
    pub(crate) const OK: u32 = 0;
    pub(crate) const INVALID_ARGUMENT: u32 = 3;
    pub(crate) const DEADLINE_EXCEEDED: u32 = 4;
    pub(crate) const RESOURCE_EXHAUSTED: u32 = 8;
    pub(crate) const ABORTED: u32 = 10;
    pub(crate) const UNIMPLEMENTED: u32 = 12;
    pub(crate) const UNAVAILABLE: u32 = 14;

    pub(crate) fn ok() -> Status {
        Status::new(Status::OK, "")
    }

    pub(crate) fn new(code: u32, message: impl Into<String>) -> Status {
        Status { code, message: message.into() }
    }

    pub(crate) fn to_trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", self.code.into());
        if !self.message.is_empty() {
            let escaped = utf8_percent_encode(&self.message, ESCAPED).to_string();
            trailers.insert("grpc-message", HeaderValue::try_from(escaped).expect("escaped to visible ASCII"));
        }
        trailers
    }

    /// Reads trailers, or the headers of a response that has nothing else. None when there is no status.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Status> {
        let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
        let message = headers.get("grpc-message").map_or(&b""[..], HeaderValue::as_bytes);
        let message = percent_encoding::percent_decode(message).decode_utf8_lossy().into_owned();
        Some(Status { code, message })
    }

    /// A response that only refuses.
    pub(crate) fn into_response(self) -> Response<CallBody> {
        let mut response = Response::new(CallBody::Empty);
        *response.headers_mut() = self.to_trailers();
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    }
}
