//! How often rows are copied. Alone in its process, because it counts all that is allocated there.
//!
//! A copy needs memory to go to. Pools that keep nothing for reuse take it from the allocator, so what a step allocates, over
//! the bytes that travel, counts the copies that go neither to the receiver's rows nor to shared memory.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Process, key, link, owner, rank, registration};
use ulysses_dataplane::{
    Event, PlaneOptions, Receive, Region, RegionPool, Route, SegmentPlace, StepRegistration, Tensor, Transport,
};

const ROWS: usize = 1 << 14;
const ROW_BYTES: usize = 256;
const PAYLOAD: usize = ROWS * ROW_BYTES;
/// Heads of messages, queues and the like are below.
const LARGE: usize = 4 << 10;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    if bytes >= LARGE {
        ALLOCATED.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(start, layout, size) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Every other row when `strided`, else one range of memory.
fn place(region: &Region, strided: bool) -> SegmentPlace {
    SegmentPlace {
        region: region.clone(),
        offset_bytes: 0,
        rows: ROWS,
        row_bytes: ROW_BYTES,
        row_stride_bytes: if strided { 2 * ROW_BYTES } else { ROW_BYTES },
        granule: 0,
        granule_ends: vec![],
    }
}

/// Sends rows of an owner to a rank, where they are placed at a stride; returns what was allocated meanwhile, over what travelled.
fn bytes_beside_the_rows((from, to): &(Process, Process), call: u64, strided: bool) -> f64 {
    let sent = from.filled(2 * PAYLOAD);
    let received = to.pool.allocate(2 * PAYLOAD).unwrap();
    let (source, destination) = (from.party, to.party);
    let before = ALLOCATED.load(Ordering::Relaxed);
    let receives = vec![Receive { source, tensor: Tensor::Q, segments: vec![place(&received, true)] }];
    to.plane.register_step(StepRegistration { receives, ..registration(call, destination) }).unwrap();
    let routes = vec![Route { destination, link: link(destination) }];
    let sends = StepRegistration { routes, send_bytes: PAYLOAD as u64, ..registration(call, source) };
    from.plane.register_step(sends).unwrap();
    from.plane.send(&key(call), destination, Tensor::Q, 0, vec![place(&sent, strided)]).unwrap();
    to.wait_for(Event::Received { key: key(call) });
    from.wait_for(Event::Sent { key: key(call) });
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    [from, to].into_iter().for_each(|process| process.plane.close_step(&key(call)));
    allocated as f64 / PAYLOAD as f64
}

fn connected(transport: Transport) -> (Process, Process) {
    let open = |party, options| {
        let options = PlaneOptions { transport, shared_bytes: 8 << 20, ..options };
        Process::with_pool(party, options, RegionPool::new(0))
    };
    let mut from = open(owner(0), Process::owner_options(owner(0)));
    let to = open(rank(0), Process::rank_options(0));
    from.connect(&to).unwrap();
    from.in_place = false;
    (from, to)
}

#[test]
fn rows_are_copied_at_most_once_to_the_wire_and_once_from_it() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let planes = connected(transport);
        // The kernel's copy from the socket, to buffers from which rows are placed: one range is sent from where it lies.
        let contiguous = bytes_beside_the_rows(&planes, 0, false);
        assert!(contiguous < 1.2, "{transport:?}: {contiguous}");
        let packed = bytes_beside_the_rows(&planes, 1, true);
        assert!(packed < 2.2, "{transport:?}, strided: {packed}");
    }
    if cfg!(target_os = "linux") {
        // Staged in shared memory, and read there by who places them.
        let planes = connected(Transport::Shared);
        for (call, strided) in [(0, false), (1, true)] {
            let others = bytes_beside_the_rows(&planes, call, strided);
            assert!(others < 0.2, "shared, strided {strided}: {others}");
        }
        assert_eq!(planes.0.plane.counters().shared_bytes, 2 * PAYLOAD as u64);
    }
}
