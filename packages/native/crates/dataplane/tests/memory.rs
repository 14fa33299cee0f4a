//! Alone in its process, because it measures all of it.

mod support;

use support::step::{Shape, cluster, run};

/// Resident memory of this process, in KiB.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse().expect("KiB")
}

#[test]
fn a_thousand_small_steps_leave_memory_where_it_was() {
    let shape = Shape { ranks: 2, heads: 3, rows: vec![100, 31], row_bytes: 64 };
    let (ranks, owners) = cluster(&shape);
    let in_order = |segments: usize| (0..segments).collect();
    // Fills the pools, the allocator's arenas and the list of closed steps.
    for call in 0..400 {
        run(&shape, (&ranks, &owners), call, in_order);
    }
    let warm = resident_kib();
    for call in 400..1400 {
        run(&shape, (&ranks, &owners), call, in_order);
    }
    let after = resident_kib();
    assert!(after <= warm + warm / 20, "{warm} KiB grew to {after} KiB");
    for process in ranks.iter().chain(&owners) {
        assert_eq!(process.pool.usage().allocated_bytes, 0, "{}", process.party);
        assert_eq!(process.plane.counters().steps, 0, "{}", process.party);
    }
}
