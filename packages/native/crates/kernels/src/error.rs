use std::fmt;

/// Why a call did not complete. Outputs are unspecified after any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An extent, stride or bound is wrong; the text names the field, its value and what was expected.
    Shape(String),
    /// This machine lacks the instruction set that was asked for.
    Unsupported(String),
    /// The stop flag was raised.
    Cancelled,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Shape(text) | Error::Unsupported(text) => f.write_str(text),
            Error::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Error {}
