//! Moves rows between sequence owners and ranks: gRPC on hyper, placed straight into reserved memory.

mod arena;
mod copying;
mod engine;
mod error;
mod events;
mod link;
mod mapping;
mod memory;
mod names;
mod options;
mod peer_memory;
mod plane;
#[cfg(test)]
mod random;
mod recycling;
mod registration;
mod sealed_file;
mod steps;
mod tls;
mod traffic;
mod wire;

pub use error::{Code, Error, Result};
pub use events::{Event, EventSink};
pub use memory::{PoolUsage, REGION_ALIGN, Region, RegionPool};
pub use names::{Party, Pass, Role, StepKey, Tensor};
pub use options::{PlaneOptions, TlsFiles, Transport};
pub use plane::{Connected, Plane};
pub use recycling::RecyclingAllocator;
pub use registration::{Receive, Route, RowsToSend, SegmentPlace, StepRegistration};
pub use traffic::Counters;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks even if a holder panicked: the panic is reported where it happened, and others must be able to clean up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
