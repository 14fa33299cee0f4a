//! One thread that runs jobs in the order in which they were submitted; JavaScript holds promises of them.
//!
//! The event loop and libuv's four threads stay free, and two kernels never compete for the same cores.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use napi::{Env, JsDeferred};

use crate::failure::{Failure, Result};

/// Settles a promise of nothing.
pub type Deferred = JsDeferred<(), fn(Env) -> napi::Result<()>>;

/// Runs on the device thread; watches the flag and returns CANCELLED soon after it is raised.
pub type Work = Box<dyn FnOnce(&AtomicBool) -> Result<()> + Send>;

pub struct Job {
    stop: AtomicBool,
    /// None once the job has begun or was cancelled.
    task: Mutex<Option<Task>>,
}

struct Task {
    work: Work,
    deferred: Deferred,
}

impl Job {
    pub fn new(work: Work, deferred: Deferred) -> Job {
        let task = Mutex::new(Some(Task { work, deferred }));
        Job { stop: AtomicBool::new(false), task }
    }

    /// Ends the job: at once if it has not begun, else when the kernel next looks at its flag.
    pub fn cancel(&self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Task { work, deferred }) = self.take() {
            drop(work);
            deferred.reject(Failure::new("CANCELLED", "the call was cancelled").into());
        }
    }

    fn run(&self) {
        let Some(Task { work, deferred }) = self.take() else { return };
        // The work owns all that it borrowed and is consumed here, so memory is free before the promise settles (A2).
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&self.stop)));
        match outcome.unwrap_or_else(|payload| Err(Failure::panicked(payload))) {
            Ok(()) => deferred.resolve(|_| Ok(())),
            Err(failure) => deferred.reject(failure.into()),
        }
    }

    fn take(&self) -> Option<Task> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Default)]
pub struct Queue {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Job>>,
    running: Option<Arc<Job>>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, once there is one; none when the queue is closed.
    fn next(&self) -> Option<Arc<Job>> {
        let mut state = self.lock();
        state.running = None;
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.running = Some(job.clone());
                return Some(job);
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Queue {
    /// Starts the thread unless it runs. Separate from `submit`, which must not fail: a deferred promise that is
    /// dropped unsettled keeps the process alive for ever.
    pub fn start(&self) -> Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.shared.clone();
            let run = move || {
                while let Some(job) = shared.next() {
                    job.run();
                }
            };
            let started = thread::Builder::new().name("ulysses-device".into()).spawn(run);
            *thread = Some(started.map_err(|e| Failure::new("OVERLOADED", format!("no device thread: {e}")))?);
        }
        Ok(())
    }

    pub fn submit(&self, job: Arc<Job>) {
        self.shared.lock().waiting.push_back(job);
        self.shared.wake.notify_one();
    }

    /// Drops what waits, stops what runs and waits for it. For the end of the environment: no promise settles any more.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.shared.lock();
            state.closed = true;
            if let Some(running) = &state.running {
                running.stop.store(true, Ordering::Relaxed);
            }
            std::mem::take(&mut state.waiting)
        };
        self.shared.wake.notify_one();
        drop(waiting);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A job's panic is caught in `run`, so there is no other to report.
            let _ = thread.join();
        }
    }
}
