//! Python face of the data plane, for one sequence owner. Declared to Python in `ulysses_native.pyi`.
//!
//! Invariants:
//! P1. No call waits, or takes a lock of the plane, while it holds the interpreter. The plane's thread never takes the
//!     interpreter, so neither can wait for the other.
//! P2. A buffer is exported from when its rows are handed over until the plane has let go of them, at the latest when
//!     their step is closed; it is released by a later call, which has the interpreter.
//! P3. Nothing outlives `close`: no thread, no socket, no buffer.

mod failure;
mod links;
mod plane;
mod progress;
mod rows;
mod step;
mod watched;

use ulysses_dataplane::RecyclingAllocator;

#[global_allocator]
static ALLOCATOR: RecyclingAllocator = RecyclingAllocator::empty();

#[pyo3::pymodule]
mod ulysses_native {
    #[pymodule_export]
    use crate::failure::PlaneError;
    #[pymodule_export]
    use crate::plane::Plane;
    #[pymodule_export]
    use crate::step::Step;
}
