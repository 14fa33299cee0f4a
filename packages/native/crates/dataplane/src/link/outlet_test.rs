use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::memory::RegionPool;
use crate::names::{Party, Pass, Role, StepKey, Tensor};
use crate::registration::StepRegistration;

const RANK: Party = Party { role: Role::Rank, index: 0 };
const OWNER: Party = Party { role: Role::Owner, index: 0 };

/// A step that may hold 10 bytes for others.
fn step(call: u64) -> Arc<Step> {
    let key = StepKey { job: "j".into(), session: "s".into(), call, pass: Pass::Forward, attempt: 0 };
    let (events, _) = unbounded_channel();
    let (receives, routes) = (vec![], vec![]);
    let registration =
        StepRegistration { key, epoch: 1, party: RANK, receives, routes, relay_bytes: 10, send_bytes: 100 };
    Arc::new(Step::new(registration, events).unwrap())
}

fn head(segment: u32, segment_bytes: u64) -> SliceHead {
    SliceHead { source: RANK, destination: OWNER, tensor: Tensor::Out, segment, offset_bytes: 0, segment_bytes }
}

fn rows(step: &Arc<Step>, segment: u32, bytes: usize) -> Slice {
    let region = RegionPool::new(0).allocate(bytes).unwrap();
    let place =
        SegmentPlace { region, offset_bytes: 0, rows: 1, row_bytes: bytes, row_stride_bytes: bytes, granule: 0 };
    Slice { step: step.clone(), head: head(segment, bytes as u64), payload: Payload::Rows(place) }
}

/// (segment, offset, bytes) of every chunk.
fn drain(queue: &mut VecDeque<Slice>, chunk_bytes: usize) -> Vec<(u32, u64, usize)> {
    std::iter::from_fn(|| take_chunk(queue, chunk_bytes))
        .map(|chunk| (chunk.head.segment, chunk.head.offset_bytes, chunk.bytes))
        .collect()
}

#[test]
fn segments_leave_in_order_and_in_chunks_that_follow_each_other() {
    let step = step(0);
    let mut queue = VecDeque::from([rows(&step, 5, 25), rows(&step, 2, 10)]);
    assert_eq!(drain(&mut queue, 10), [(5, 0, 10), (5, 10, 10), (5, 20, 5), (2, 0, 10)]);
}

#[test]
fn what_a_failed_step_has_queued_is_not_sent() {
    let (failed, live) = (step(0), step(1));
    let mut queue = VecDeque::from([rows(&failed, 0, 20), rows(&live, 1, 10), rows(&failed, 2, 10)]);
    assert!(take_chunk(&mut queue, 10).is_some_and(|chunk| chunk.head.segment == 0));
    failed.fail("PEER_LOST", "a test".into(), "owner 0");
    assert_eq!(drain(&mut queue, 10), [(1, 0, 10)]);
}

#[test]
fn relayed_bytes_are_held_until_they_leave_or_are_dropped() {
    let step = step(0);
    let relayed = |bytes: usize| {
        let payload = Payload::Relayed(Bytes::from(vec![0; bytes]), step.hold(bytes)?);
        Ok::<_, crate::error::Error>(Slice { step: step.clone(), head: head(0, 100), payload })
    };
    let mut queue = VecDeque::from([relayed(8).unwrap()]);
    assert!(relayed(3).is_err(), "11 bytes");
    let chunk = take_chunk(&mut queue, 5).unwrap();
    assert!(matches!(chunk.source, ChunkSource::Relayed(payload) if payload.len() == 5));
    queue.push_back(relayed(7).unwrap());
    assert!(relayed(1).is_err(), "11 bytes again");
    queue.clear();
    relayed(10).unwrap();
}
