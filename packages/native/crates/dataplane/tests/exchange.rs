//! Whole steps: every byte arrives where the plan says, over every kind of route.

mod support;

use support::step::{Shape, cluster, run};
use support::{Process, connected, key, owner, rank, registration, whole};
use ulysses_dataplane::{Event, Receive, Route, Tensor};

fn in_order(segments: usize) -> Vec<usize> {
    (0..segments).collect()
}

#[test]
fn uneven_strided_rows_reach_their_ranks_and_return_over_relays() {
    // Owners: 5, none, 9000 and 37 rows. Ranks: 3, 2 and 2 of 7 heads.
    let shape = Shape { ranks: 3, heads: 7, rows: vec![5, 0, 9000, 37], row_bytes: 64 };
    let (ranks, owners) = cluster(&shape);
    for call in 0..3 {
        run(&shape, (&ranks, &owners), call, in_order);
    }
}

#[test]
fn one_owner_is_served_by_three_ranks() {
    let shape = Shape { ranks: 3, heads: 4, rows: vec![3000], row_bytes: 256 };
    let (ranks, owners) = cluster(&shape);
    run(&shape, (&ranks, &owners), 0, in_order);
}

#[test]
fn a_rank_without_heads_takes_part() {
    let shape = Shape { ranks: 3, heads: 1, rows: vec![1, 2], row_bytes: 8 };
    let (ranks, owners) = cluster(&shape);
    run(&shape, (&ranks, &owners), 0, in_order);
}

#[test]
fn the_order_of_sends_does_not_change_what_arrives() {
    let shape = Shape { ranks: 2, heads: 9, rows: vec![700, 1, 40], row_bytes: 100 };
    let (ranks, owners) = cluster(&shape);
    let mut turn = 0;
    for call in 0..6 {
        run(&shape, (&ranks, &owners), call, |segments| {
            turn += 1;
            let mut order = in_order(segments);
            order.rotate_left(turn % segments.max(1));
            if turn % 2 == 0 {
                order.reverse();
            }
            order
        });
    }
}

#[test]
fn contiguous_segments_larger_than_every_window_arrive() {
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled((9 << 20) + 12_345);
    let received = ranks[1].pool.allocate(sent.len()).unwrap();
    let mut expects = registration(0, rank(1));
    expects.receives = vec![Receive { source: rank(0), tensor: Tensor::K, segments: vec![whole(&received)] }];
    ranks[1].plane.register_step(expects).unwrap();
    let mut sends = registration(0, rank(0));
    sends.routes = vec![Route { destination: rank(1), link: "to rank 1".into() }];
    sends.send_bytes = sent.len() as u64;
    ranks[0].plane.register_step(sends).unwrap();
    ranks[0].plane.send(&key(0), rank(1), Tensor::K, 0, vec![whole(&sent)]).unwrap();
    ranks[0].wait_for(Event::Sent { key: key(0) });
    ranks[1].wait_for(Event::Granule { key: key(0), granule: 0 });
    ranks[1].wait_for(Event::Received { key: key(0) });
    assert!(support::bytes_of(&received) == support::bytes_of(&sent));
    assert_eq!(ranks[0].plane.counters().sent_bytes, sent.len() as u64);
    assert_eq!(ranks[0].plane.step_sent_bytes(&key(0)), Some(sent.len() as u64));
    assert_eq!(ranks[1].plane.counters().received_bytes, sent.len() as u64);
    assert_eq!(ranks[1].plane.step_received_bytes(&key(0)), Some(sent.len() as u64));
}

#[test]
fn a_step_that_moves_nothing_is_complete_at_once() {
    let (ranks, _) = connected(1, 0);
    let empty = ranks[0].pool.allocate(0).unwrap();
    let mut step = registration(0, rank(0));
    step.receives = vec![Receive { source: owner(0), tensor: Tensor::Q, segments: vec![whole(&empty)] }];
    ranks[0].plane.register_step(step).unwrap();
    assert_eq!(ranks[0].next(), Event::Granule { key: key(0), granule: 0 });
    assert_eq!(ranks[0].next(), Event::Received { key: key(0) });
    assert_eq!(ranks[0].next(), Event::Sent { key: key(0) });
}

/// One rank sends 3 MB to owner 0.
fn send_to_owner(from: &Process, call: u64) -> ulysses_dataplane::Region {
    let sent = from.filled(3_000_000);
    let mut sends = registration(call, from.party);
    sends.routes = vec![Route { destination: owner(0), link: "owner/0/job/session".into() }];
    sends.send_bytes = sent.len() as u64;
    from.plane.register_step(sends).unwrap();
    from.plane.send(&key(call), owner(0), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    sent
}

fn receive_at_owner(at: &Process, call: u64) -> ulysses_dataplane::Region {
    let received = at.pool.allocate(3_000_000).unwrap();
    let mut expects = registration(call, at.party);
    expects.receives = vec![Receive { source: rank(0), tensor: Tensor::Out, segments: vec![whole(&received)] }];
    at.plane.register_step(expects).unwrap();
    received
}

#[test]
fn rows_wait_for_an_owner_that_has_not_dialled_yet() {
    let (ranks, _) = connected(1, 0);
    let owner = Process::owner(0);
    let sent = send_to_owner(&ranks[0], 0);
    let received = receive_at_owner(&owner, 0);
    owner.connect(&ranks[0]).unwrap();
    owner.wait_for(Event::Received { key: key(0) });
    ranks[0].wait_for(Event::Sent { key: key(0) });
    assert!(support::bytes_of(&received) == support::bytes_of(&sent));
}

#[test]
fn rows_that_come_before_their_owner_has_registered_the_step_are_not_refused() {
    let (ranks, owners) = connected(1, 1);
    let sent = send_to_owner(&ranks[0], 0);
    // A full round trip on the same link: the slices above have arrived.
    let ping = owners[0].filled(1);
    let mut expects = registration(1, rank(0));
    expects.receives = vec![Receive {
        source: owner(0),
        tensor: Tensor::Q,
        segments: vec![whole(&ranks[0].pool.allocate(1).unwrap())],
    }];
    ranks[0].plane.register_step(expects).unwrap();
    let mut sends = registration(1, owner(0));
    sends.routes = vec![Route { destination: rank(0), link: "to rank 0".into() }];
    sends.send_bytes = 1;
    owners[0].plane.register_step(sends).unwrap();
    owners[0].plane.send(&key(1), rank(0), Tensor::Q, 0, vec![whole(&ping)]).unwrap();
    owners[0].wait_for(Event::Sent { key: key(1) });
    let received = receive_at_owner(&owners[0], 0);
    owners[0].wait_for(Event::Received { key: key(0) });
    ranks[0].wait_for(Event::Sent { key: key(0) });
    assert!(support::bytes_of(&received) == support::bytes_of(&sent));
}
