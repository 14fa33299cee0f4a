//! Acknowledgements: small messages, read whole.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::wire::message::{Ack, AckEnvelope};
use crate::wire::{PREFIX_BYTES, WireError};

/// Acks carry names and one error message.
const ACK_LIMIT_BYTES: usize = 64 << 10;

/// One gRPC message.
pub(crate) fn encode_ack(ack: &Ack) -> Bytes {
    let envelope = AckEnvelope { ack: Some(ack.into()) };
    let length = envelope.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("an ack is small"));
    envelope.encode_raw(&mut out);
    out.freeze()
}

/// Cuts a stream into acks, wherever its frames are split.
#[derive(Default)]
pub(crate) struct AckReader {
    buffer: BytesMut,
}

impl AckReader {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole ack, if it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Ack>, WireError> {
        let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let [flag, length @ ..] = *prefix;
        if flag != 0 {
            return Err(WireError::Compressed);
        }
        let bytes = u32::from_be_bytes(length) as usize;
        if bytes > ACK_LIMIT_BYTES {
            return Err(WireError::MessageTooLong { bytes, limit: ACK_LIMIT_BYTES });
        }
        if rest.len() < bytes {
            return Ok(None);
        }
        self.buffer.advance(PREFIX_BYTES);
        let envelope = AckEnvelope::decode(self.buffer.split_to(bytes))
            .map_err(|error| WireError::Undecodable(error.to_string()))?;
        envelope.ack.ok_or(WireError::MissingField("ack"))?.try_into().map(Some)
    }

    /// To be called when the stream ended.
    pub(crate) fn finish(&self) -> Result<(), WireError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(WireError::StreamCut) }
    }
}
