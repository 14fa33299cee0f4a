//! Rows read in place by peers of this host: the same bytes as by any other link, whatever part of them fits.
#![cfg(target_os = "linux")]

mod support;

use support::step::{Shape, run};
use support::{Process, connect_all};
use ulysses_dataplane::Counters;

const SHARED_BYTES: usize = 64 << 20;

fn in_order(segments: usize) -> Vec<usize> {
    (0..segments).collect()
}

fn shape() -> Shape {
    Shape { ranks: 3, heads: 7, rows: vec![5, 0, 9000, 37], row_bytes: 96 }
}

fn cluster(shared_bytes: usize) -> (Vec<Process>, Vec<Process>) {
    let ranks = (0..3).map(|index| Process::sharing(index, shared_bytes)).collect();
    connect_all(ranks, (0..4).map(|index| Process::owner_sharing(index, shared_bytes)).collect())
}

/// Runs steps and returns, for every process, what it counted.
fn counted((ranks, owners): &(Vec<Process>, Vec<Process>)) -> Vec<Counters> {
    for call in 0..3 {
        run(&shape(), (ranks, owners), call, in_order);
    }
    ranks.iter().chain(owners).map(|process| process.plane.counters()).collect()
}

#[test]
fn rows_in_shared_memory_are_read_where_they_lie_and_pass_relays() {
    let cluster = cluster(SHARED_BYTES);
    let counters = counted(&cluster);
    assert_eq!(counters.iter().map(|each| each.shared_connections).collect::<Vec<_>>(), [6, 5, 5, 1, 1, 1, 1]);
    // Owner 2, whose segments alone are large, sends all of them so. Its relay, rank 2, passes most of them on.
    let sent = 3 * shape().owner_bytes(2) as u64;
    assert_eq!((counters[5].sent_bytes, counters[5].shared_bytes), (sent, sent));
    assert_eq!(counters[5].staged_bytes, 0);
    assert!(counters[2].relayed_bytes > sent && counters[2].shared_bytes > sent, "{:?}", counters[2]);
}

#[test]
fn rows_in_other_memory_are_staged() {
    let (mut ranks, mut owners) = cluster(SHARED_BYTES);
    ranks.iter_mut().chain(&mut owners).for_each(|process| process.in_place = false);
    let counters = counted(&(ranks, owners));
    let sent = 3 * shape().owner_bytes(2) as u64;
    let owner = counters[5];
    assert_eq!((owner.sent_bytes, owner.shared_bytes, owner.staged_bytes), (sent, sent, sent));
}

#[test]
fn what_does_not_fit_travels_as_payload() {
    // Half of one chunk, after rounding half of what is in flight.
    let counters = counted(&cluster(2 << 20));
    let owner = counters[5];
    assert_eq!(owner.sent_bytes, 3 * shape().owner_bytes(2) as u64);
    assert!(0 < owner.shared_bytes && owner.shared_bytes < owner.sent_bytes, "{owner:?}");
}

#[test]
fn a_process_that_shares_nothing_is_reached_by_unix_socket() {
    for (dials, listens) in [
        (Process::sharing(0, SHARED_BYTES), Process::by_unix_socket(1)),
        (Process::by_unix_socket(0), Process::sharing(1, SHARED_BYTES)),
        (Process::sharing(0, 0), Process::sharing(1, SHARED_BYTES)),
        (Process::sharing(0, SHARED_BYTES), Process::sharing(1, 0)),
    ] {
        dials.connect(&listens).unwrap();
        for counters in [dials.plane.counters(), listens.plane.counters()] {
            assert_eq!((counters.unix_connections, counters.shared_connections), (1, 0));
        }
    }
}
