//! Threads of one call: they take items from one queue until it is empty or the call is to stop.
use crate::Error;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Why a call would end early: its caller raised the flag, or one of its threads panicked.
pub(crate) struct Halt<'a> {
    stop: &'a AtomicBool,
    panicked: AtomicBool,
}

impl<'a> Halt<'a> {
    pub(crate) fn new(stop: &'a AtomicBool) -> Halt<'a> {
        Halt { stop, panicked: AtomicBool::new(false) }
    }

    pub(crate) fn raised(&self) -> bool {
        self.stop.load(Relaxed) || self.panicked.load(Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.raised() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// Raises `panicked` when a worker unwinds, so that no other waits for what it will never do.
struct Watch<'a>(&'a Halt<'a>);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked.store(true, Relaxed);
        }
    }
}

/// Gives every item to one of the workers, one thread each; items start in order. Panics if a worker did.
pub(crate) fn for_each<I: Send, W: Send>(
    workers: &mut [W],
    items: Vec<I>,
    halt: &Halt,
    work: impl Fn(&mut W, I) + Sync,
) -> Result<(), Error> {
    let threads = workers.len().min(items.len());
    let queue = Mutex::new(items.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = |worker: &mut W| {
        let _watch = Watch(halt);
        while !halt.raised() {
            match next() {
                Some(item) => work(worker, item),
                None => return,
            }
        }
    };
    if let Some((own, others)) = workers.split_first_mut() {
        std::thread::scope(|scope| {
            for worker in others.iter_mut().take(threads.saturating_sub(1)) {
                scope.spawn(|| drain(worker));
            }
            drain(own);
        });
    }
    halt.check()
}

/// A value that threads change in a fixed order: turn after turn, whoever arrives first.
pub(crate) struct Turns<T> {
    state: Mutex<(usize, T)>,
    passed: Condvar,
}

impl<T> Turns<T> {
    pub(crate) fn new(first: usize, value: T) -> Turns<T> {
        Turns { state: Mutex::new((first, value)), passed: Condvar::new() }
    }

    /// Waits for its turn, then changes the value; false if the call halts first.
    pub(crate) fn take(&self, turn: usize, halt: &Halt, change: impl FnOnce(&mut T)) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 != turn {
            if halt.raised() {
                return false;
            }
            // Nobody notifies of a raised flag, hence the limit.
            let wait = self.passed.wait_timeout(state, Duration::from_millis(5));
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        change(&mut state.1);
        state.0 += 1;
        drop(state);
        self.passed.notify_all();
        true
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        &mut self.state.get_mut().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_item_is_done_once() {
        let stop = AtomicBool::new(false);
        let counts: Vec<_> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        let done = for_each(&mut [(); 3], (0..1000).collect(), &Halt::new(&stop), |_, i: usize| {
            counts[i].fetch_add(1, Relaxed);
        });
        assert_eq!(done, Ok(()));
        assert!(counts.iter().all(|count| count.load(Relaxed) == 1));
    }

    #[test]
    fn a_raised_flag_ends_the_work_with_cancelled() {
        let stop = AtomicBool::new(false);
        let done = AtomicUsize::new(0);
        let result = for_each(&mut [(); 2], (0..1000).collect(), &Halt::new(&stop), |_, i: usize| {
            stop.fetch_or(i == 10, Relaxed);
            done.fetch_add(1, Relaxed);
        });
        assert_eq!(result, Err(Error::Cancelled));
        assert!(done.load(Relaxed) <= 12);
    }

    #[test]
    fn turns_are_taken_in_order_whoever_comes_first() {
        let stop = AtomicBool::new(false);
        let halt = Halt::new(&stop);
        let mut list = Turns::new(0, Vec::new());
        for_each(&mut [(); 4], (0..100).collect(), &halt, |_, turn: usize| {
            assert!(list.take(turn, &halt, |list| list.push(turn)));
        })
        .unwrap();
        assert_eq!(*list.get_mut(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_releases_those_who_wait_and_reaches_the_caller() {
        let stop = AtomicBool::new(false);
        let halt = Halt::new(&stop);
        let turns = Turns::new(0, ());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for_each(&mut [(); 2], vec![0, 1], &halt, |_, turn: usize| {
                assert_ne!(turn, 0, "planted");
                assert!(!turns.take(1, &halt, |_| ()));
            })
        }));
        assert!(result.is_err());
    }
}
