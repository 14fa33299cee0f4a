//! Alone in its process, because it measures all of it.

mod support;

use support::step::{Shape, cluster, run};
use support::{Process, connect_all};

const SHARED_BYTES: usize = 16 << 20;

/// Resident memory of this process, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("KiB")
}

#[test]
fn a_thousand_small_steps_leave_memory_where_it_was() {
    // Segments of rank 0 are large enough to be read in place, the others are not.
    let shape = Shape { ranks: 2, heads: 3, rows: vec![300, 31], row_bytes: 64 };
    stays_flat(&shape, cluster(&shape));
    let ranks = (0..2).map(|index| Process::sharing(index, SHARED_BYTES)).collect();
    stays_flat(&shape, connect_all(ranks, (0..2).map(|index| Process::owner_sharing(index, SHARED_BYTES)).collect()));
}

fn stays_flat(shape: &Shape, (ranks, owners): (Vec<Process>, Vec<Process>)) {
    let in_order = |segments: usize| (0..segments).collect();
    // Fills the pools, the allocator's arenas and the list of closed steps.
    for call in 0..300 {
        run(shape, (&ranks, &owners), call, in_order);
    }
    let warm = resident_kib();
    for call in 300..800 {
        run(shape, (&ranks, &owners), call, in_order);
    }
    let after = resident_kib();
    assert!(after <= warm + warm / 20, "{warm} KiB grew to {after} KiB");
    for process in ranks.iter().chain(&owners) {
        process.plane.close();
        assert_eq!(process.pool.usage().allocated_bytes, 0, "{}", process.party);
        assert_eq!(process.plane.counters().steps, 0, "{}", process.party);
    }
}
