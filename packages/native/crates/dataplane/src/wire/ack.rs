//! Acknowledgements and releases: small messages, read whole.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::wire::message::{AckEnvelope, Reply};
use crate::wire::{PREFIX_BYTES, WireError};

/// Acks carry names and one error message.
const ACK_LIMIT_BYTES: usize = 64 << 10;

/// One gRPC message.
pub(crate) fn encode_reply(reply: &Reply) -> Bytes {
    let envelope = match reply {
        Reply::Ack(ack) => AckEnvelope { ack: Some(ack.into()), released: 0 },
        Reply::Released(released) => AckEnvelope { ack: None, released: *released },
    };
    let length = envelope.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("an ack is small"));
    envelope.encode_raw(&mut out);
    out.freeze()
}

/// Cuts a stream into replies, wherever its frames are split.
#[derive(Default)]
pub(crate) struct ReplyReader {
    buffer: BytesMut,
    /// Of messages that were read.
    ended: u64,
    /// Came in one message with an ack.
    released: Option<u64>,
}

impl ReplyReader {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The next whole reply, if it has come.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, WireError> {
        if let Some(released) = self.released.take() {
            return Ok(Some(Reply::Released(released)));
        }
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
        self.ended += 1;
        let envelope = AckEnvelope::decode(self.buffer.split_to(bytes))
            .map_err(|error| WireError::Undecodable(error.to_string()))?;
        let released = (envelope.released > 0).then_some(envelope.released);
        match envelope.ack {
            Some(ack) => {
                self.released = released;
                ack.try_into().map(|ack| Some(Reply::Ack(ack)))
            }
            None => released.map(|released| Some(Reply::Released(released))).ok_or(WireError::MissingField("ack")),
        }
    }

    /// Which message has come in part; none between two.
    pub(crate) fn begun(&self) -> Option<u64> {
        (!self.buffer.is_empty()).then_some(self.ended)
    }

    /// To be called when the stream ended.
    pub(crate) fn finish(&self) -> Result<(), WireError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(WireError::StreamCut) }
    }
}
