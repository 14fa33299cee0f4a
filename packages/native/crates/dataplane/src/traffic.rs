//! Counters of one plane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Running sums since the plane was opened, and what it holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Payload handed to connections, relayed bytes included.
    pub sent_bytes: u64,
    /// Of it, payload that peers of this host read in place.
    pub shared_bytes: u64,
    /// Of that, payload copied first to where they read it.
    pub staged_bytes: u64,
    /// Payload placed in reserved memory.
    pub received_bytes: u64,
    /// Payload taken in to be forwarded for other parties.
    pub relayed_bytes: u64,
    /// Connections by unix socket, dialled and accepted.
    pub unix_connections: usize,
    /// Of them, those whose ends share memory.
    pub shared_connections: usize,
    /// Steps registered.
    pub steps: usize,
    /// Links that can be sent on, waiting ones included.
    pub links: usize,
}

#[derive(Default)]
pub(crate) struct Traffic {
    sent_bytes: AtomicU64,
    shared_bytes: AtomicU64,
    staged_bytes: AtomicU64,
    received_bytes: AtomicU64,
    relayed_bytes: AtomicU64,
    unix_connections: AtomicUsize,
    shared_connections: AtomicUsize,
}

/// Counts one connection by unix socket while it lives.
pub(crate) struct CountedConnection {
    traffic: Arc<Traffic>,
    shares: bool,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.traffic.unix_connections.fetch_sub(1, Ordering::Relaxed);
        self.traffic.shared_connections.fetch_sub(usize::from(self.shares), Ordering::Relaxed);
    }
}

impl Traffic {
    pub(crate) fn count_connection(self: &Arc<Traffic>, is_unix: bool, shares: bool) -> Option<CountedConnection> {
        is_unix.then(|| {
            self.unix_connections.fetch_add(1, Ordering::Relaxed);
            self.shared_connections.fetch_add(usize::from(shares), Ordering::Relaxed);
            CountedConnection { traffic: self.clone(), shares }
        })
    }

    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counted as sent too.
    pub(crate) fn count_shared(&self, bytes: usize) {
        self.shared_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counted as shared too.
    pub(crate) fn count_staged(&self, bytes: usize) {
        self.staged_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_relayed(&self, bytes: usize) {
        self.relayed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn counters(&self, steps: usize, links: usize) -> Counters {
        Counters {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            shared_bytes: self.shared_bytes.load(Ordering::Relaxed),
            staged_bytes: self.staged_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            relayed_bytes: self.relayed_bytes.load(Ordering::Relaxed),
            unix_connections: self.unix_connections.load(Ordering::Relaxed),
            shared_connections: self.shared_connections.load(Ordering::Relaxed),
            steps,
            links,
        }
    }
}
