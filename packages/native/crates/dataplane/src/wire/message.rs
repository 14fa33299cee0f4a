//! The messages of `proto/ulysses/v1`, written by hand to the same tags, and their checked forms.

use std::collections::BTreeMap;

use crate::names::{Party, Pass, Role, StepKey, Tensor};
use crate::peer_memory::SharedRows;
use crate::wire::WireError;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StepKeyMessage {
    #[prost(string, tag = "1")]
    job: String,
    #[prost(string, tag = "2")]
    session: String,
    #[prost(uint64, tag = "3")]
    call: u64,
    #[prost(int32, tag = "4")]
    pass: i32,
    #[prost(uint32, tag = "5")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PartyMessage {
    #[prost(int32, tag = "1")]
    role: i32,
    #[prost(uint32, tag = "2")]
    index: u32,
}

/// `Slice` without its payload.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SliceMessage {
    #[prost(uint64, tag = "1")]
    pub(super) epoch: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) step: Option<StepKeyMessage>,
    #[prost(message, optional, tag = "3")]
    pub(super) source: Option<PartyMessage>,
    #[prost(message, optional, tag = "4")]
    pub(super) destination: Option<PartyMessage>,
    #[prost(int32, tag = "5")]
    pub(super) tensor: i32,
    #[prost(uint32, tag = "6")]
    pub(super) segment: u32,
    #[prost(uint64, tag = "7")]
    pub(super) offset_bytes: u64,
    #[prost(uint64, tag = "8")]
    pub(super) segment_bytes: u64,
    #[prost(message, optional, tag = "9")]
    pub(super) shared: Option<SharedRowsMessage>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SharedRowsMessage {
    #[prost(uint64, tag = "1")]
    offset_bytes: u64,
    #[prost(uint64, tag = "2")]
    rows: u64,
    #[prost(uint64, tag = "3")]
    row_bytes: u64,
    #[prost(uint64, tag = "4")]
    row_stride_bytes: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorMessage {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(btree_map = "string, string", tag = "3")]
    details: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AckMessage {
    #[prost(uint64, tag = "1")]
    epoch: u64,
    #[prost(message, optional, tag = "2")]
    step: Option<StepKeyMessage>,
    #[prost(message, optional, tag = "3")]
    source: Option<PartyMessage>,
    #[prost(message, optional, tag = "4")]
    destination: Option<PartyMessage>,
    #[prost(uint64, tag = "5")]
    bytes: u64,
    #[prost(message, optional, tag = "6")]
    error: Option<ErrorMessage>,
}

/// `PushResponse` and `PullRequest` have the same shape.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct AckEnvelope {
    #[prost(message, optional, tag = "1")]
    pub(super) ack: Option<AckMessage>,
    #[prost(uint64, tag = "2")]
    pub(super) released: u64,
}

/// What a slice says of itself before its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SliceHeader {
    pub(crate) epoch: u64,
    pub(crate) step: StepKey,
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) tensor: Tensor,
    pub(crate) segment: u32,
    pub(crate) offset_bytes: u64,
    pub(crate) segment_bytes: u64,
    /// Where the payload lies; none when it follows.
    pub(crate) shared: Option<SharedRows>,
}

/// What goes back on a call that slices come on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Ack(Ack),
    /// How many slices with shared rows were read so far.
    Released(u64),
}

/// Everything from `source` is placed at `destination`, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) epoch: u64,
    pub(crate) step: StepKey,
    pub(crate) source: Party,
    pub(crate) destination: Party,
    pub(crate) bytes: u64,
    pub(crate) refusal: Option<Refusal>,
}

/// Why a destination, or a relay on the way to it, does not take a source's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A row of the error table.
    pub(crate) code: String,
    pub(crate) message: String,
    /// Who refused.
    pub(crate) peer: Option<String>,
}

impl From<&StepKey> for StepKeyMessage {
    fn from(key: &StepKey) -> StepKeyMessage {
        let pass = match key.pass {
            Pass::Forward => 1,
            Pass::Backward => 2,
        };
        let StepKey { job, session, call, attempt, .. } = key.clone();
        StepKeyMessage { job, session, call, pass, attempt }
    }
}

impl TryFrom<StepKeyMessage> for StepKey {
    type Error = WireError;

    fn try_from(message: StepKeyMessage) -> Result<StepKey, WireError> {
        let StepKeyMessage { job, session, call, pass, attempt } = message;
        let pass = match pass {
            1 => Pass::Forward,
            2 => Pass::Backward,
            value => return Err(WireError::BadField { field: "step.pass", value: value.into() }),
        };
        Ok(StepKey { job, session, call, pass, attempt })
    }
}

impl From<Party> for PartyMessage {
    fn from(party: Party) -> PartyMessage {
        let role = match party.role {
            Role::Rank => 1,
            Role::Owner => 2,
        };
        PartyMessage { role, index: party.index }
    }
}

impl From<SharedRows> for SharedRowsMessage {
    fn from(shared: SharedRows) -> SharedRowsMessage {
        let SharedRows { offset_bytes, rows, row_bytes, row_stride_bytes } = shared;
        SharedRowsMessage { offset_bytes, rows, row_bytes, row_stride_bytes }
    }
}

impl From<SharedRowsMessage> for SharedRows {
    fn from(message: SharedRowsMessage) -> SharedRows {
        let SharedRowsMessage { offset_bytes, rows, row_bytes, row_stride_bytes } = message;
        SharedRows { offset_bytes, rows, row_bytes, row_stride_bytes }
    }
}

fn party(field: &'static str, message: Option<PartyMessage>) -> Result<Party, WireError> {
    let PartyMessage { role, index } = message.ok_or(WireError::MissingField(field))?;
    let role = match role {
        1 => Role::Rank,
        2 => Role::Owner,
        value => return Err(WireError::BadField { field, value: value.into() }),
    };
    Ok(Party { role, index })
}

/// The number of a tensor on the wire.
pub(super) fn tensor_number(tensor: Tensor) -> i32 {
    match tensor {
        Tensor::Q => 1,
        Tensor::K => 2,
        Tensor::V => 3,
        Tensor::Out => 4,
        Tensor::Lse => 5,
        Tensor::Dout => 6,
        Tensor::Dq => 7,
        Tensor::Dk => 8,
        Tensor::Dv => 9,
        Tensor::Exchanged => 10,
    }
}

fn step(message: Option<StepKeyMessage>) -> Result<StepKey, WireError> {
    message.ok_or(WireError::MissingField("step"))?.try_into()
}

impl TryFrom<SliceMessage> for SliceHeader {
    type Error = WireError;

    fn try_from(message: SliceMessage) -> Result<SliceHeader, WireError> {
        let number = message.tensor;
        let tensor = Tensor::ALL.into_iter().find(|&tensor| tensor_number(tensor) == number);
        Ok(SliceHeader {
            epoch: message.epoch,
            step: step(message.step)?,
            source: party("source", message.source)?,
            destination: party("destination", message.destination)?,
            tensor: tensor.ok_or(WireError::BadField { field: "tensor", value: number.into() })?,
            segment: message.segment,
            offset_bytes: message.offset_bytes,
            segment_bytes: message.segment_bytes,
            shared: message.shared.map(SharedRows::from),
        })
    }
}

impl From<&Ack> for AckMessage {
    fn from(ack: &Ack) -> AckMessage {
        AckMessage {
            epoch: ack.epoch,
            step: Some((&ack.step).into()),
            source: Some(ack.source.into()),
            destination: Some(ack.destination.into()),
            bytes: ack.bytes,
            error: ack.refusal.clone().map(|Refusal { code, message, peer }| ErrorMessage {
                code,
                message,
                details: peer.into_iter().map(|peer| ("peer".to_string(), peer)).collect(),
            }),
        }
    }
}

impl TryFrom<AckMessage> for Ack {
    type Error = WireError;

    fn try_from(message: AckMessage) -> Result<Ack, WireError> {
        Ok(Ack {
            epoch: message.epoch,
            step: step(message.step)?,
            source: party("source", message.source)?,
            destination: party("destination", message.destination)?,
            bytes: message.bytes,
            refusal: message.error.map(|mut error| Refusal {
                code: error.code,
                message: error.message,
                peer: error.details.remove("peer"),
            }),
        })
    }
}
