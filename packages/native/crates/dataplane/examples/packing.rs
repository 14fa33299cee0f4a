//! Rows of one head among several, gathered into a payload and placed from one, against a copy of as many bytes: GB/s of CPU time,
//! one line of JSON per window. `npm run bench:kernels` reads it.
//!
//! `cargo run --release -p ulysses-dataplane --example packing -- [windows]`

use ulysses_dataplane::{Region, RegionPool, SegmentPlace};

/// As of bf16 elements, head size 64.
const ROW_BYTES: usize = 128;
const HEADS: usize = 8;
/// Far more than caches hold.
const ROWS: usize = 1 << 19;
/// As slices are cut.
const CHUNK_BYTES: usize = 512 << 10;

struct Memory {
    shard: Region,
    payload: Region,
    /// A region each, as chunks have, and together larger than caches.
    chunks: Vec<Region>,
    copies: [Region; 2],
}

impl Memory {
    fn new() -> Memory {
        let pool = RegionPool::new(0);
        let filled = |bytes: usize| {
            let region = pool.allocate(bytes).expect("memory");
            // SAFETY: nobody else has it. Pages that were never touched would all be one.
            unsafe { std::ptr::write_bytes(region.as_ptr(), 7, bytes) };
            region
        };
        let bytes = ROWS * ROW_BYTES;
        let chunks = (0..bytes).step_by(CHUNK_BYTES).map(|_| filled(CHUNK_BYTES)).collect();
        Memory { shard: filled(HEADS * bytes), payload: filled(bytes), chunks, copies: [filled(bytes), filled(bytes)] }
    }

    fn place(&self, head: usize) -> SegmentPlace {
        SegmentPlace {
            region: self.shard.clone(),
            offset_bytes: head * ROW_BYTES,
            rows: ROWS,
            row_bytes: ROW_BYTES,
            row_stride_bytes: HEADS * ROW_BYTES,
            granule: 0,
            granule_ends: vec![],
        }
    }
}

/// GB per second of this process's CPU time.
fn rate(bytes: usize, run: impl FnOnce()) -> f64 {
    let before = cpu_seconds();
    run();
    bytes as f64 / (cpu_seconds() - before) / 1e9
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the struct.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "the process has a clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn main() {
    let windows = std::env::args().nth(1).map_or(5, |argument| argument.parse().expect("a number"));
    let (memory, bytes) = (Memory::new(), ROWS * ROW_BYTES);
    let chunks = || (0..bytes).step_by(CHUNK_BYTES);
    for window in 0..windows {
        let place = memory.place(window % HEADS);
        let pack = rate(bytes, || {
            for (from, chunk) in chunks().zip(&memory.chunks) {
                // SAFETY: one thread, and regions that do not overlap.
                unsafe { place.gather(from, CHUNK_BYTES, chunk) };
            }
        });
        let unpack = rate(bytes, || {
            for from in chunks() {
                // SAFETY: as above.
                unsafe { place.scatter(from, memory.payload.slice(from, CHUNK_BYTES)) };
            }
        });
        let [from, to] = &memory.copies;
        let copy = rate(bytes, || {
            // SAFETY: as above.
            unsafe { to.write(0, from.slice(0, bytes)) }
        });
        println!(r#"{{"pack":{pack},"unpack":{unpack},"copy":{copy}}}"#);
    }
}
