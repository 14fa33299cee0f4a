//! N-API face of the native core: registers, converts and checks. Declared to TypeScript in `src/native.ts`.
//!
//! Invariants:
//! A1. Every place that JavaScript names is checked against its region once, here; the crates behind trust it.
//! A2. A job owns clones of all regions it touches and drops them before its promise settles.
//! A3. When the environment ends, a hook stops jobs and planes and waits for their threads: Node frees what they would
//!     call back into right afterwards.

mod attention;
mod checked;
mod device;
mod failure;
mod fold;
mod matmul;
mod operand;
mod plane;
mod queue;
mod region;
mod step;

use ulysses_dataplane::RecyclingAllocator;

#[global_allocator]
static ALLOCATOR: RecyclingAllocator = RecyclingAllocator::empty();
