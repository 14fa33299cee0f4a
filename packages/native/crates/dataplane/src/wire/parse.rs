//! Reads slice messages as they arrive: the header is checked when the payload begins, and payload bytes are passed on at
//! once, in whatever pieces the connection delivers them.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::encode_varint;

use crate::wire::message::{SliceHeader, SliceMessage};
use crate::wire::{PREFIX_BYTES, WireError};

/// Most bytes of known fields before the payload. They hold numbers, two parties and the names of job and session.
const HEADER_LIMIT_BYTES: usize = 4 << 10;
const SLICE_FIELD: u32 = 1;
const LAST_HEADER_FIELD: u32 = 9;
const PAYLOAD_FIELD: u32 = 15;

#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// A slice begins; so many payload bytes follow.
    Slice(SliceHeader, usize),
    /// The next bytes of the payload, never empty.
    Payload(Bytes),
}

pub(crate) struct SliceParser {
    limit_bytes: usize,
    /// Of messages that ended.
    ended: u64,
    state: State,
    /// What is left of the gRPC message.
    message_left: usize,
    slice: Nested,
    /// Known fields of the slice, as they came.
    header: Vec<u8>,
    /// Whether the field being read goes to `header`.
    keep: bool,
}

/// Where the reader is in regard to the nested Slice.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nested {
    Before,
    /// So many of its bytes are left; the header was passed on or not.
    Inside {
        left: usize,
        announced: bool,
    },
    After,
}

enum State {
    Prefix { bytes: [u8; PREFIX_BYTES], have: usize },
    Tag(Varint),
    Number(Varint),
    Length { field: u32, length: Varint },
    Skip { left: usize },
    Payload { left: usize },
}

impl SliceParser {
    pub(crate) fn new(limit_bytes: usize) -> SliceParser {
        SliceParser {
            limit_bytes,
            ended: 0,
            state: State::Prefix { bytes: [0; PREFIX_BYTES], have: 0 },
            message_left: 0,
            slice: Nested::Before,
            header: Vec::new(),
            keep: false,
        }
    }

    /// Consumes `input` up to the next piece; none when all of it is used up. After an error the stream is of no use.
    pub(crate) fn next(&mut self, input: &mut Bytes) -> Result<Option<Piece>, WireError> {
        loop {
            if let State::Tag(Varint { bits: 0, .. }) = self.state
                && let Some(piece) = self.between_fields()?
            {
                return Ok(Some(piece));
            }
            if input.is_empty() {
                return Ok(None);
            }
            if let State::Payload { left } = &mut self.state {
                let piece = input.split_to(input.len().min(*left));
                *left -= piece.len();
                if *left == 0 {
                    self.state = State::Tag(Varint::default());
                }
                self.count(piece.len())?;
                return Ok(Some(Piece::Payload(piece)));
            }
            if let Some(piece) = self.read(input)? {
                return Ok(Some(piece));
            }
        }
    }

    /// Which message has come in part; none between two.
    pub(crate) fn begun(&self) -> Option<u64> {
        let between = matches!(self.state, State::Prefix { have: 0, .. });
        (!between).then_some(self.ended)
    }

    /// To be called when the stream ended.
    pub(crate) fn finish(&self) -> Result<(), WireError> {
        self.begun().map_or(Ok(()), |_| Err(WireError::StreamCut))
    }

    /// Leaves messages that have ended. A slice without payload is announced here.
    fn between_fields(&mut self) -> Result<Option<Piece>, WireError> {
        if let Nested::Inside { left: 0, announced } = self.slice {
            self.slice = Nested::After;
            if !announced {
                return Ok(Some(Piece::Slice(self.decode_header()?, 0)));
            }
        }
        if self.message_left == 0 {
            if self.slice != Nested::After {
                return Err(WireError::MissingField("slice"));
            }
            self.state = State::Prefix { bytes: [0; PREFIX_BYTES], have: 0 };
            self.ended += 1;
        }
        Ok(None)
    }

    /// Reads a byte, or skips as many as it can.
    fn read(&mut self, input: &mut Bytes) -> Result<Option<Piece>, WireError> {
        match &mut self.state {
            State::Prefix { bytes, have } => {
                bytes[*have] = input.get_u8();
                *have += 1;
                if *have == PREFIX_BYTES {
                    let prefix = *bytes;
                    self.begin_message(prefix)?;
                }
                Ok(None)
            }
            State::Skip { left } => {
                let bytes = input.len().min(*left);
                *left -= bytes;
                if *left == 0 {
                    self.state = State::Tag(Varint::default());
                }
                self.count(bytes)?;
                let skipped = input.split_to(bytes);
                if self.keep {
                    self.put_header(&skipped)?;
                }
                Ok(None)
            }
            State::Tag(varint) => {
                let tag = varint.push(input.get_u8())?;
                self.count(1)?;
                tag.map_or(Ok(None), |tag| self.begin_field(tag).map(|()| None))
            }
            State::Number(varint) => {
                let number = varint.push(input.get_u8())?;
                self.count(1)?;
                if let Some(number) = number {
                    self.put_header_varint(number)?;
                    self.state = State::Tag(Varint::default());
                }
                Ok(None)
            }
            State::Length { field, length } => {
                let (field, length) = (*field, length.push(input.get_u8())?);
                self.count(1)?;
                length.map_or(Ok(None), |length| self.begin_delimited(field, length))
            }
            State::Payload { .. } => unreachable!("payload is passed on by next()"),
        }
    }

    fn begin_message(&mut self, prefix: [u8; PREFIX_BYTES]) -> Result<(), WireError> {
        let [flag, length @ ..] = prefix;
        if flag != 0 {
            return Err(WireError::Compressed);
        }
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > self.limit_bytes {
            return Err(WireError::MessageTooLong { bytes, limit: self.limit_bytes });
        }
        self.message_left = bytes;
        self.slice = Nested::Before;
        self.header.clear();
        self.state = State::Tag(Varint::default());
        Ok(())
    }

    fn begin_field(&mut self, tag: u64) -> Result<(), WireError> {
        let (field, wire_type) = (tag >> 3, (tag & 7) as u8);
        let field = u32::try_from(field).ok().filter(|&field| field > 0).ok_or(WireError::BadTag { tag })?;
        let in_slice = matches!(self.slice, Nested::Inside { .. });
        self.keep = in_slice && field <= LAST_HEADER_FIELD;
        if self.keep {
            self.put_header_varint(tag)?;
        }
        let delimited_only = if in_slice { PAYLOAD_FIELD } else { SLICE_FIELD };
        self.state = match wire_type {
            2 => State::Length { field, length: Varint::default() },
            _ if field == delimited_only => return Err(WireError::WireType { field, wire_type }),
            0 => State::Number(Varint::default()),
            1 => self.skip(field, 8)?,
            5 => self.skip(field, 4)?,
            _ => return Err(WireError::WireType { field, wire_type }),
        };
        Ok(())
    }

    fn begin_delimited(&mut self, field: u32, length: u64) -> Result<Option<Piece>, WireError> {
        self.put_header_varint(length)?;
        let skip = self.skip(field, length)?;
        let bytes = length as usize;
        match self.slice {
            Nested::Inside { left, .. } if field == PAYLOAD_FIELD => {
                if bytes < left {
                    return Err(WireError::PayloadNotLast { after_bytes: left - bytes });
                }
                self.slice = Nested::Inside { left, announced: true };
                self.state = if bytes == 0 { State::Tag(Varint::default()) } else { State::Payload { left: bytes } };
                let header = self.decode_header()?;
                if header.shared.is_some() {
                    return Err(WireError::SharedAndPayload);
                }
                return Ok(Some(Piece::Slice(header, bytes)));
            }
            Nested::Before if field == SLICE_FIELD => {
                self.slice = Nested::Inside { left: bytes, announced: false };
                self.state = State::Tag(Varint::default());
            }
            Nested::After if field == SLICE_FIELD => return Err(WireError::SliceTwice),
            _ => self.state = skip,
        }
        Ok(None)
    }

    /// The state that passes over `bytes` of a field, after checking that its message has so many.
    fn skip(&self, field: u32, bytes: u64) -> Result<State, WireError> {
        let left = match self.slice {
            Nested::Inside { left, .. } => left,
            _ => self.message_left,
        };
        match usize::try_from(bytes) {
            Ok(0) => Ok(State::Tag(Varint::default())),
            Ok(bytes) if bytes <= left => Ok(State::Skip { left: bytes }),
            _ => Err(WireError::LengthOverrun { field, bytes, left }),
        }
    }

    /// Books bytes that were read of the message and of the slice.
    fn count(&mut self, bytes: usize) -> Result<(), WireError> {
        self.message_left = self.message_left.checked_sub(bytes).ok_or(WireError::FieldCut)?;
        if let Nested::Inside { left, .. } = &mut self.slice {
            *left = left.checked_sub(bytes).ok_or(WireError::FieldCut)?;
        }
        Ok(())
    }

    fn put_header_varint(&mut self, value: u64) -> Result<(), WireError> {
        if self.keep {
            encode_varint(value, &mut self.header);
        }
        self.check_header(0)
    }

    fn put_header(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.check_header(bytes.len())?;
        self.header.extend_from_slice(bytes);
        Ok(())
    }

    fn check_header(&self, more: usize) -> Result<(), WireError> {
        if self.header.len() + more > HEADER_LIMIT_BYTES {
            return Err(WireError::HeaderTooLong { limit: HEADER_LIMIT_BYTES });
        }
        Ok(())
    }

    fn decode_header(&self) -> Result<SliceHeader, WireError> {
        SliceMessage::decode(&self.header[..]).map_err(|error| WireError::Undecodable(error.to_string()))?.try_into()
    }
}

/// A varint of which `bits` bits have come.
#[derive(Clone, Copy, Default)]
struct Varint {
    value: u64,
    bits: u32,
}

impl Varint {
    /// The value, once its last byte has come.
    fn push(&mut self, byte: u8) -> Result<Option<u64>, WireError> {
        if self.bits > 63 || (self.bits == 63 && byte > 1) {
            return Err(WireError::BadVarint);
        }
        self.value |= u64::from(byte & 0x7f) << self.bits;
        self.bits += 7;
        Ok((byte & 0x80 == 0).then_some(self.value))
    }
}

#[cfg(test)]
#[path = "parse_test.rs"]
mod tests;
