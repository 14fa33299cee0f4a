//! Failures a caller can act on. Codes are rows of the project's closed table; broken invariants of our own panic instead.

use std::fmt;

/// The rows of the error table that the data plane can produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    ShapeMismatch,
    PlanInvalid,
    StaleEpoch,
    PeerLost,
    Deadline,
    Cancelled,
    Unauthenticated,
    Overloaded,
    Unsupported,
    Config,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::ShapeMismatch => "SHAPE_MISMATCH",
            Code::PlanInvalid => "PLAN_INVALID",
            Code::StaleEpoch => "STALE_EPOCH",
            Code::PeerLost => "PEER_LOST",
            Code::Deadline => "DEADLINE",
            Code::Cancelled => "CANCELLED",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::Overloaded => "OVERLOADED",
            Code::Unsupported => "UNSUPPORTED",
            Code::Config => "CONFIG",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `message` names the field, what was expected and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}
