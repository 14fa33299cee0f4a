//! State that threads of Python wait on.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// Longest that a signal waits to be handled: a wait is not interrupted by it.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Default)]
pub struct Watched<S> {
    state: Mutex<S>,
    changed: Condvar,
}

impl<S: Send> Watched<S> {
    /// Nothing under this lock waits for anything.
    pub fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Until `find` finds something; none after `seconds`. Without the interpreter; raises what a signal's handler raises.
    pub fn wait<T: Send>(
        &self,
        py: Python<'_>,
        seconds: f64,
        find: impl Fn(&mut S) -> Option<T> + Sync,
    ) -> PyResult<Option<T>> {
        // A limit that a clock cannot hold is far away.
        let limit = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
        let deadline = Instant::now().checked_add(limit);
        loop {
            let found = py.detach(|| {
                let left = deadline.map_or(SIGNAL_INTERVAL, |deadline| deadline.duration_since(Instant::now()));
                self.wait_without_signals(left.min(SIGNAL_INTERVAL), &find)
            });
            if found.is_some() {
                return Ok(found);
            }
            py.check_signals()?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(None);
            }
        }
    }

    fn wait_without_signals<T>(&self, limit: Duration, find: impl Fn(&mut S) -> Option<T>) -> Option<T> {
        let mut found = None;
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |state| {
            found = find(state);
            found.is_none()
        });
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        found
    }
}
