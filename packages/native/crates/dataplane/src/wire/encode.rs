//! Slice messages to be sent: everything but the payload, which follows as bytes of its own.

use bytes::{BufMut, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use crate::names::{Party, StepKey, Tensor};
use crate::peer_memory::SharedRows;
use crate::wire::PREFIX_BYTES;
use crate::wire::message::{SliceMessage, tensor_number};

/// Tag byte of `slice` in PushRequest and PullResponse: field 1, length-delimited.
const SLICE_TAG: u8 = 0x0a;
/// Tag byte of `payload` in Slice: field 15, length-delimited.
const PAYLOAD_TAG: u8 = 0x7a;
/// Most bytes of the payload's tag and length.
const PAYLOAD_HEAD_BYTES: usize = 11;

/// The fields that differ between slices of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SliceHead {
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) tensor: Tensor,
    pub(crate) segment: u32,
    pub(crate) offset_bytes: u64,
    pub(crate) segment_bytes: u64,
}

/// The fields that all slices of a step share, encoded once per step: `epoch` and `step`.
pub(crate) fn encode_step_fields(epoch: u64, key: &StepKey) -> Vec<u8> {
    SliceMessage { epoch, step: Some(key.into()), ..SliceMessage::default() }.encode_to_vec()
}

/// Appends a whole message up to its payload; exactly `payload_bytes` must follow on the stream.
pub(crate) fn put_slice_head(out: &mut BytesMut, step_fields: &[u8], head: SliceHead, payload_bytes: usize) {
    let payload = payload_bytes as u64;
    put_slice(out, step_fields, &fields(head, None), 1 + encoded_len_varint(payload) + payload_bytes);
    out.put_u8(PAYLOAD_TAG);
    encode_varint(payload, out);
}

/// Appends a whole message whose rows lie in memory that the receiver reads in place.
pub(crate) fn put_shared_slice(out: &mut BytesMut, step_fields: &[u8], head: SliceHead, shared: SharedRows) {
    put_slice(out, step_fields, &fields(head, Some(shared)), 0);
}

fn fields(head: SliceHead, shared: Option<SharedRows>) -> SliceMessage {
    SliceMessage {
        epoch: 0,
        step: None,
        source: Some(head.source.into()),
        destination: Some(head.destination.into()),
        tensor: tensor_number(head.tensor),
        segment: head.segment,
        offset_bytes: head.offset_bytes,
        segment_bytes: head.segment_bytes,
        shared: shared.map(Into::into),
    }
}

/// `rest_bytes` of the slice are appended by the caller, or sent after `out`.
fn put_slice(out: &mut BytesMut, step_fields: &[u8], fields: &SliceMessage, rest_bytes: usize) {
    let slice_bytes = step_fields.len() + fields.encoded_len() + rest_bytes;
    let message_bytes = 1 + encoded_len_varint(slice_bytes as u64) + slice_bytes;
    let length = u32::try_from(message_bytes).expect("chunks are far smaller than 4 GiB");
    out.reserve(PREFIX_BYTES + message_bytes - rest_bytes + PAYLOAD_HEAD_BYTES);
    out.put_u8(0);
    out.put_u32(length);
    out.put_u8(SLICE_TAG);
    encode_varint(slice_bytes as u64, out);
    out.put_slice(step_fields);
    fields.encode_raw(out);
}
