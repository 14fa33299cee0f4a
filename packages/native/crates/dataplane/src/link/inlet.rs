//! The receiving end of a call: slices are checked when their header has come and placed, forwarded or skipped as they come.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::Engine;
use crate::error::{Code, Error};
use crate::link::frames::Frames;
use crate::link::{AckSender, Sharing, Status};
use crate::names::{Party, StepKey};
use crate::peer_memory::{Payload, SharedRows};
use crate::steps::{Slot, Step};
use crate::wire::{Ack, Piece, Refusal, SliceHead, SliceHeader, SliceParser};

/// How many stale (step, source) pairs are remembered, so that each is refused once and not per slice.
const REFUSED_PAIRS: usize = 64;

pub(super) struct Inlet {
    engine: Arc<Engine>,
    acks: AckSender,
    /// What the peer shares, if it does.
    sharing: Option<Arc<Sharing>>,
    /// Slices with shared rows that were read.
    shared_slices: u64,
    /// A sequence owner that pulls may get rows before it has registered their step: it waits a while.
    waits_for_steps: bool,
    parser: SliceParser,
    /// The slice that is being read, unless its payload is skipped.
    current: Option<Admitted>,
    refused: VecDeque<(StepKey, u64, Party)>,
}

/// A slice whose payload is wanted.
struct Admitted {
    step: Arc<Step>,
    /// Its offset is that of the next payload byte.
    header: SliceHeader,
    /// Where it goes here; none if it is to be forwarded.
    slot: Option<Slot>,
}

impl Inlet {
    pub(super) fn new(
        engine: Arc<Engine>,
        acks: AckSender,
        sharing: Option<Arc<Sharing>>,
        waits_for_steps: bool,
    ) -> Inlet {
        let parser = SliceParser::new(engine.options.message_limit_bytes);
        let refused = VecDeque::new();
        Inlet { engine, acks, sharing, shared_slices: 0, waits_for_steps, parser, current: None, refused }
    }

    /// Reads until the stream ends.
    pub(super) async fn read(&mut self, frames: &mut Frames) -> Result<(), Status> {
        while let Some(mut data) = frames.next(self.parser.begun()).await? {
            let shared_before = self.shared_slices;
            while let Some(piece) = self.parser.next(&mut data)? {
                match piece {
                    Piece::Slice(header @ SliceHeader { shared: Some(rows), .. }, _) => {
                        self.take_shared(header, rows).await;
                        self.shared_slices += 1;
                    }
                    Piece::Slice(header, payload_bytes) => {
                        self.current = self.admit(header, Ok(payload_bytes)).await;
                    }
                    Piece::Payload(payload) => self.take(payload),
                }
            }
            if self.shared_slices > shared_before {
                self.acks.release(self.shared_slices);
            }
        }
        Ok(self.parser.finish()?)
    }

    async fn admit(&mut self, header: SliceHeader, payload_bytes: Result<usize, Error>) -> Option<Admitted> {
        let step = match self.engine.find_step(&header.step, self.waits_for_steps).await {
            Some(step) if step.epoch == header.epoch => step,
            other => {
                self.refuse_stale(header, other.map(|step| step.epoch));
                return None;
            }
        };
        match self.choose(&step, &header, payload_bytes) {
            Ok(Some(slot)) => Some(Admitted { step, header, slot: Some(slot) }),
            Ok(None) if header.destination != step.party => Some(Admitted { step, header, slot: None }),
            Ok(None) => None,
            Err(error) => {
                self.refuse(&step, header, error);
                None
            }
        }
    }

    /// The slot of a slice for this process. None for others, and when the step is over.
    fn choose(
        &self,
        step: &Step,
        header: &SliceHeader,
        payload_bytes: Result<usize, Error>,
    ) -> Result<Option<Slot>, Error> {
        step.enter(header.source, &self.acks)?;
        let payload_bytes = payload_bytes?;
        if header.destination == step.party {
            return step.admit(header, payload_bytes);
        }
        step.link_to(header.destination).map(|_| None)
    }

    /// Bytes as they came.
    fn take(&mut self, payload: Bytes) {
        let Some(mut admitted) = self.current.take() else { return };
        let Admitted { step, header, slot } = &admitted;
        let outcome = match *slot {
            Some(slot) => step.place(slot, header.offset_bytes, payload[..].into()),
            None => self.engine.forward(step, head_of(header), payload.clone()),
        };
        if self.settle(&admitted, payload.len(), outcome) {
            admitted.header.offset_bytes += payload.len() as u64;
            self.current = Some(admitted);
        }
    }

    /// Rows in the peer's memory: read at once, so that the peer may have them back.
    async fn take_shared(&mut self, header: SliceHeader, rows: SharedRows) {
        let sharing = self.sharing.clone();
        let payload = match &sharing {
            Some(sharing) => sharing.peer.payload(rows, self.engine.options.message_limit_bytes),
            None => Err(Error::new(
                Code::Unsupported,
                "shared: rows in memory of the sender, expected a payload on a connection whose ends share none",
            )),
        };
        let bytes = payload.as_ref().map(Payload::len).map_err(Error::clone);
        let Some(admitted) = self.admit(header, bytes).await else { return };
        let Ok(payload) = payload else { return };
        let Admitted { step, header, slot } = &admitted;
        let outcome = match *slot {
            Some(slot) => step.place(slot, header.offset_bytes, payload),
            None => self.engine.forward_shared(step, head_of(header), payload),
        };
        self.settle(&admitted, payload.len(), outcome);
    }

    /// What became of payload; true when more of the slice is wanted.
    fn settle(&mut self, admitted: &Admitted, bytes: usize, outcome: Result<bool, Error>) -> bool {
        let Admitted { step, header, slot } = admitted;
        match outcome {
            Ok(true) => {
                if slot.is_some() {
                    self.engine.traffic.count_received(bytes);
                }
                return true;
            }
            Ok(false) if step.is_closed() => self.refuse_stale(header.clone(), None),
            Ok(false) => (),
            Err(error) => self.refuse(step, header.clone(), error),
        }
        false
    }

    /// Fails the step here and tells the source. A failed step skips what follows, so this happens once.
    fn refuse(&self, step: &Step, header: SliceHeader, error: Error) {
        step.fail(error.code.as_str(), error.message.clone(), &header.source.to_string());
        let peer = match error.code {
            // Who is to blame is not who noticed.
            Code::PeerLost => Engine::lost_towards(step, header.destination).to_string(),
            _ => self.engine.options.description.clone(),
        };
        self.nack(header, error, peer);
    }

    fn refuse_stale(&mut self, header: SliceHeader, registered_epoch: Option<u64>) {
        let pair = (header.step.clone(), header.epoch, header.source);
        if self.refused.contains(&pair) {
            return;
        }
        if self.refused.len() == REFUSED_PAIRS {
            self.refused.pop_front();
        }
        self.refused.push_back(pair);
        let expected = match registered_epoch {
            Some(epoch) => format!("expected epoch {epoch}"),
            None => "which is not registered".to_string(),
        };
        let message = format!("step {} of epoch {}, {expected}", header.step, header.epoch);
        self.nack(header, Error::new(Code::StaleEpoch, message), self.engine.options.description.clone());
    }

    fn nack(&self, header: SliceHeader, error: Error, peer: String) {
        let SliceHeader { epoch, step, source, destination, .. } = header;
        let (code, message) = (error.code.as_str().to_string(), error.message);
        let refusal = Some(Refusal { code, message, peer: Some(peer) });
        self.acks.send(Ack { epoch, step, source, destination, bytes: 0, refusal });
    }
}

fn head_of(header: &SliceHeader) -> SliceHead {
    let SliceHeader { source, destination, tensor, segment, offset_bytes, segment_bytes, .. } = *header;
    SliceHead { source, destination, tensor, segment, offset_bytes, segment_bytes }
}
