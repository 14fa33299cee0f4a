//! Jobs that share links: one that floods, or that reads slowly or not at all, does not hold up another.

mod support;

use support::stock::{SliceEnvelope, Stock};
use support::{Process, bytes_of, connected, key, link, owner, part, rank, registration, whole};
use ulysses_dataplane::{Event, Party, Receive, Region, Route, StepKey, StepRegistration, Tensor};

const FLOOD: usize = 32 << 20;
const SMALL: usize = 64 << 10;

fn key_of(job: &str, call: u64) -> StepKey {
    StepKey { job: job.into(), ..key(call) }
}

/// Rows of rank `from` for owner 0, on their way through `next`.
fn sends(at: &Process, job: &str, call: u64, next: &str, bytes: usize) -> StepRegistration {
    let routes = vec![Route { destination: owner(0), link: next.into() }];
    StepRegistration { key: key_of(job, call), routes, send_bytes: bytes as u64, ..registration(call, at.party) }
}

/// Rank 0 passes on what rank 1 has for the owner of a job.
fn relays(at: &Process, job: &str, call: u64, bytes: usize) {
    let routes = vec![Route { destination: owner(0), link: format!("owner/0/{job}/session") }];
    let step = StepRegistration { key: key_of(job, call), routes, relay_bytes: bytes, ..registration(call, at.party) };
    at.plane.register_step(step).unwrap();
}

fn expects(at: &Process, job: &str, call: u64, from: Party, bytes: usize) -> Region {
    let received = at.pool.allocate(bytes).unwrap();
    let receives = vec![Receive { source: from, tensor: Tensor::Out, segments: vec![whole(&received)] }];
    let step = StepRegistration { key: key_of(job, call), receives, ..registration(call, at.party) };
    at.plane.register_step(step).unwrap();
    received
}

#[test]
fn a_small_step_overtakes_a_large_one_of_another_job_on_the_same_link() {
    let (rank0, owner0) = (Process::rank(0), Process::owner(0));
    let (flood, small) = (rank0.filled(FLOOD), rank0.filled(SMALL));
    let to_owner = "owner/0/job/session";
    rank0.plane.register_step(sends(&rank0, "flood", 0, to_owner, FLOOD)).unwrap();
    rank0.plane.register_step(sends(&rank0, "small", 0, to_owner, SMALL)).unwrap();
    let segments: Vec<_> = (0..16).map(|n| part(&flood, n * FLOOD / 16, FLOOD / 16)).collect();
    let (at_flood, at_small) = (owner0.pool.allocate(FLOOD).unwrap(), expects(&owner0, "small", 0, rank(0), SMALL));
    let places = (0..16).map(|n| part(&at_flood, n * FLOOD / 16, FLOOD / 16)).collect();
    let receives = vec![Receive { source: rank(0), tensor: Tensor::Out, segments: places }];
    let step = StepRegistration { key: key_of("flood", 0), receives, ..registration(0, owner(0)) };
    owner0.plane.register_step(step).unwrap();
    // Both wait for the owner's Pull, the large one before the small one.
    rank0.plane.send(&key_of("flood", 0), owner(0), Tensor::Out, 0, segments).unwrap();
    rank0.plane.send(&key_of("small", 0), owner(0), Tensor::Out, 0, vec![whole(&small)]).unwrap();
    owner0.connect(&rank0).unwrap();
    let first = owner0.wait("received", |event| match event {
        Event::Received { key } => Some(key.job.clone()),
        _ => None,
    });
    assert_eq!(first, "small");
    owner0.wait_for(Event::Received { key: key_of("flood", 0) });
    assert!(bytes_of(&at_flood) == bytes_of(&flood) && bytes_of(&at_small) == bytes_of(&small));
}

#[test]
fn an_owner_that_never_reads_holds_up_no_other_job_at_its_relay() {
    let (ranks, owners) = connected(2, 1);
    let (rank0, rank1, victim) = (&ranks[0], &ranks[1], &owners[0]);
    let stopped = Stock::connect(rank0);
    let (_acks, slices) = stopped
        .open::<support::stock::AckEnvelope, SliceEnvelope>(
            "/ulysses.v1.TensorPlaneService/Pull",
            Some("owner/0/stopped/session"),
        )
        .unwrap();
    relays(rank0, "stopped", 0, FLOOD);
    let flood = rank1.filled(FLOOD);
    rank1.plane.register_step(sends(rank1, "stopped", 0, &link(rank(0)), FLOOD)).unwrap();
    rank1.plane.send(&key_of("stopped", 0), owner(0), Tensor::Out, 0, vec![whole(&flood)]).unwrap();
    for call in 0..20 {
        let received = expects(victim, "job", call, rank(1), SMALL);
        relays(rank0, "job", call, SMALL);
        let small = rank1.filled(SMALL);
        rank1.plane.register_step(sends(rank1, "job", call, &link(rank(0)), SMALL)).unwrap();
        rank1.plane.send(&key(call), owner(0), Tensor::Out, 0, vec![whole(&small)]).unwrap();
        victim.wait_for(Event::Received { key: key(call) });
        rank1.wait_for(Event::Sent { key: key(call) });
        assert!(bytes_of(&received) == bytes_of(&small));
        for process in [victim, rank0, rank1] {
            process.plane.close_step(&key(call));
        }
    }
    // What waits at the relay is the step's own, and no more than was agreed on.
    assert!(rank0.plane.counters().relayed_bytes <= (FLOOD + 20 * SMALL) as u64);
    assert_eq!(rank1.next_within(std::time::Duration::ZERO), None, "the stopped owner has acknowledged nothing");
    rank0.plane.close_step(&key_of("stopped", 0));
    assert_eq!(rank0.pool.usage().allocated_bytes, 0);
    drop(slices);
}
