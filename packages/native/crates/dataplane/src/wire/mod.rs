//! The bytes of `ulysses.v1.TensorPlaneService`: gRPC framing and protobuf, with payloads kept out of encode and decode buffers.

mod ack;
mod encode;
mod message;
mod parse;

pub(crate) use ack::{ReplyReader, encode_reply};
pub(crate) use encode::{SliceHead, encode_step_fields, put_shared_slice, put_slice_head};
pub(crate) use message::{Ack, Refusal, Reply, SliceHeader};
pub(crate) use parse::{Piece, SliceParser};

use std::fmt;

/// Length of what precedes every gRPC message: compression flag and length.
const PREFIX_BYTES: usize = 5;

/// Why bytes from a peer are not a message of this service. Displays as the name and what came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    Compressed,
    MessageTooLong {
        bytes: usize,
        limit: usize,
    },
    HeaderTooLong {
        limit: usize,
    },
    /// A varint of more than 64 bits.
    BadVarint,
    BadTag {
        tag: u64,
    },
    WireType {
        field: u32,
        wire_type: u8,
    },
    /// A field or nested message that is longer than what contains it.
    LengthOverrun {
        field: u32,
        bytes: u64,
        left: usize,
    },
    /// Containing message ends inside a field.
    FieldCut,
    PayloadNotLast {
        after_bytes: usize,
    },
    SliceTwice,
    SharedAndPayload,
    MissingField(&'static str),
    BadField {
        field: &'static str,
        value: i64,
    },
    /// Protobuf that does not decode.
    Undecodable(String),
    /// The stream ended inside a message.
    StreamCut,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Compressed => write!(f, "COMPRESSED: messages must not be compressed"),
            WireError::MessageTooLong { bytes, limit } => {
                write!(f, "MESSAGE_TOO_LONG: {bytes} bytes, expected at most {limit}")
            }
            WireError::HeaderTooLong { limit } => {
                write!(f, "HEADER_TOO_LONG: fields before the payload exceed {limit} bytes")
            }
            WireError::BadVarint => write!(f, "BAD_VARINT: a varint of more than 64 bits"),
            WireError::BadTag { tag } => write!(f, "BAD_TAG: {tag} is not a field's tag"),
            WireError::WireType { field, wire_type } => {
                write!(f, "WIRE_TYPE: field {field} has wire type {wire_type}")
            }
            WireError::LengthOverrun { field, bytes, left } => {
                write!(f, "LENGTH_OVERRUN: field {field} says {bytes} bytes where {left} are left")
            }
            WireError::FieldCut => write!(f, "FIELD_CUT: a message ends inside a field"),
            WireError::PayloadNotLast { after_bytes } => {
                write!(
                    f,
                    "PAYLOAD_NOT_LAST: {after_bytes} bytes follow the payload, expected it to be the last field of Slice"
                )
            }
            WireError::SliceTwice => write!(f, "SLICE_TWICE: a message holds more than one slice"),
            WireError::SharedAndPayload => write!(f, "SHARED_AND_PAYLOAD: a slice has both, expected one"),
            WireError::MissingField(field) => write!(f, "MISSING_FIELD: {field}"),
            WireError::BadField { field, value } => write!(f, "BAD_FIELD: {field} is {value}"),
            WireError::Undecodable(reason) => write!(f, "UNDECODABLE: {reason}"),
            WireError::StreamCut => write!(f, "STREAM_CUT: the stream ended inside a message"),
        }
    }
}
