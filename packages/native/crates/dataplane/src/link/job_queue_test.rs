use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::link::outlet::{ChunkSource, Queued};
use crate::memory::RegionPool;
use crate::names::{Party, Pass, Role, StepKey, Tensor};
use crate::registration::{SegmentPlace, StepRegistration};
use crate::steps::Step;
use crate::wire::SliceHead;

const RANK: Party = Party { role: Role::Rank, index: 0 };
const OWNER: Party = Party { role: Role::Owner, index: 0 };

/// A step that may hold 10 bytes for others.
fn step(call: u64) -> Arc<Step> {
    step_of("j", call)
}

fn step_of(job: &str, call: u64) -> Arc<Step> {
    let key = StepKey { job: job.into(), session: "s".into(), call, pass: Pass::Forward, attempt: 0 };
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
    let place = SegmentPlace {
        region,
        offset_bytes: 0,
        rows: 1,
        row_bytes: bytes,
        row_stride_bytes: bytes,
        granule: 0,
        granule_ends: vec![],
    };
    Slice { step: step.clone(), head: head(segment, bytes as u64), payload: Queued::Rows(place, bytes as u64) }
}

fn queue(slices: impl IntoIterator<Item = Slice>) -> JobQueue {
    let mut queue = JobQueue::default();
    slices.into_iter().for_each(|slice| queue.append(slice));
    queue
}

/// (segment, offset, bytes) of every chunk.
fn drain(queue: &mut JobQueue, chunk_bytes: usize) -> Vec<(u32, u64, usize)> {
    std::iter::from_fn(|| queue.take_chunk(chunk_bytes))
        .map(|chunk| (chunk.head.segment, chunk.head.offset_bytes, chunk.bytes))
        .collect()
}

#[test]
fn segments_leave_in_order_and_in_chunks_that_follow_each_other() {
    let step = step(0);
    let mut queue = queue([rows(&step, 5, 25), rows(&step, 2, 10)]);
    assert_eq!(drain(&mut queue, 10), [(5, 0, 10), (5, 10, 10), (5, 20, 5), (2, 0, 10)]);
}

#[test]
fn a_part_of_a_segment_ends_where_it_should_also_when_rows_are_strided() {
    let step = step(0);
    let region = RegionPool::new(0).allocate(60).unwrap();
    let (rows, row_bytes, row_stride_bytes) = (5, 10, 12);
    let place =
        SegmentPlace { region, offset_bytes: 0, rows, row_bytes, row_stride_bytes, granule: 0, granule_ends: vec![] };
    let part = |begin: u64, end: u64| Slice {
        step: step.clone(),
        head: SliceHead { offset_bytes: begin, ..head(0, 50) },
        payload: Queued::Rows(place.clone(), end),
    };
    let mut queue = queue([part(0, 10), part(10, 40), part(40, 50)]);
    assert_eq!(drain(&mut queue, 25), [(0, 0, 10), (0, 10, 20), (0, 30, 10), (0, 40, 10)]);
}

#[test]
fn what_a_failed_step_has_queued_is_not_sent() {
    let (failed, live) = (step(0), step(1));
    let mut queue = queue([rows(&failed, 0, 20), rows(&live, 1, 10), rows(&failed, 2, 10)]);
    assert!(queue.take_chunk(10).is_some_and(|chunk| chunk.head.segment == 0));
    failed.fail("PEER_LOST", "a test".into(), "owner 0");
    assert_eq!(drain(&mut queue, 10), [(1, 0, 10)]);
}

#[test]
fn relayed_bytes_are_held_until_they_leave_or_are_dropped() {
    let step = step(0);
    let relayed = |bytes: usize| {
        let payload = Queued::Relayed(Bytes::from(vec![0; bytes]), step.hold(bytes)?);
        Ok::<_, crate::error::Error>(Slice { step: step.clone(), head: head(0, 100), payload })
    };
    let mut queue = queue([relayed(8).unwrap()]);
    assert!(relayed(3).is_err(), "11 bytes");
    let chunk = queue.take_chunk(5).unwrap();
    assert!(matches!(chunk.source, ChunkSource::Relayed(payload) if payload.len() == 5));
    queue.append(relayed(7).unwrap());
    assert!(relayed(1).is_err(), "11 bytes again");
    drop(queue.take_all_but(|_| false));
    relayed(10).unwrap();
}

#[test]
fn a_job_that_floods_the_link_delays_another_by_a_chunk_at_most() {
    let (flood, victim) = (step_of("flood", 0), step_of("victim", 0));
    let mut queue = queue((0..100).map(|segment| rows(&flood, segment, 50)));
    assert_eq!(drain_one(&mut queue), 0);
    queue.append(rows(&victim, 1000, 10));
    queue.append(rows(&victim, 1001, 10));
    // The flood has its turn still, and then every other one.
    let order: Vec<u32> = std::iter::from_fn(|| Some(drain_one(&mut queue))).take(5).collect();
    assert_eq!(order.iter().filter(|&&segment| segment >= 1000).collect::<Vec<_>>(), [&1000, &1001]);
    assert!(order[..2].contains(&1000), "{order:?}");
}

#[test]
fn jobs_get_equal_bytes_whatever_the_size_of_their_slices() {
    let steps = ["small", "large", "odd"].map(|job| step_of(job, 0));
    let sizes = [1, 64, 7];
    let mut queue = queue((0..1000).flat_map(|segment| {
        steps.iter().zip(sizes).map(move |(step, bytes)| rows(step, segment, bytes)).collect::<Vec<_>>()
    }));
    let mut sent = [0; 3];
    for _ in 0..600 {
        let chunk = queue.take_chunk(10).unwrap();
        sent[steps.iter().position(|step| Arc::ptr_eq(step, &chunk.step)).unwrap()] += chunk.bytes;
        assert!(sent.iter().max().unwrap() - sent.iter().min().unwrap() <= 20, "{sent:?}");
    }
}

#[test]
fn a_job_that_was_silent_has_saved_nothing_up() {
    let (busy, late) = (step_of("busy", 0), step_of("late", 0));
    let mut queue = queue([rows(&busy, 0, 1000)]);
    for _ in 0..50 {
        queue.take_chunk(10).unwrap();
    }
    queue.append(rows(&late, 1, 1000));
    let order: Vec<u32> = std::iter::from_fn(|| Some(drain_one(&mut queue))).take(8).collect();
    assert_eq!(order.iter().filter(|&&segment| segment == 1).count(), 4, "{order:?}");
}

#[test]
fn what_is_purged_leaves_the_others_their_order() {
    let (dead, live) = (step_of("dead", 0), step_of("live", 0));
    let mut queue = queue([rows(&dead, 0, 10), rows(&live, 1, 10), rows(&dead, 2, 10), rows(&live, 3, 10)]);
    dead.fail("PEER_LOST", "a test".into(), "owner 0");
    assert_eq!(queue.take_all_but(|slice| slice.step.is_live()).len(), 2);
    assert_eq!((queue.len(), queue.lanes.len()), (2, 1));
    assert_eq!(drain(&mut queue, 10), [(1, 0, 10), (3, 0, 10)]);
}

/// The segment of the next chunk of 10 bytes.
fn drain_one(queue: &mut JobQueue) -> u32 {
    queue.take_chunk(10).expect("the queue is not empty").head.segment
}
