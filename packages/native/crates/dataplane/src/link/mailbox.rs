//! A queue between whoever has something to send and the call body that sends it.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::link::Status;
use crate::lock;

/// What a mailbox holds, in an order of its own.
pub(crate) trait Queue<T>: Default {
    fn len(&self) -> usize;
    fn append(&mut self, item: T);
    /// Takes out what `keep` does not say.
    fn take_all_but(&mut self, keep: impl Fn(&T) -> bool) -> Vec<T>;
}

/// First come, first served.
impl<T> Queue<T> for VecDeque<T> {
    fn len(&self) -> usize {
        VecDeque::len(self)
    }

    fn append(&mut self, item: T) {
        self.push_back(item);
    }

    fn take_all_but(&mut self, keep: impl Fn(&T) -> bool) -> Vec<T> {
        let (kept, taken) = std::mem::take(self).into_iter().partition::<VecDeque<T>, _>(keep);
        *self = kept;
        taken.into()
    }
}

pub(crate) struct Mailbox<T, Q = VecDeque<T>> {
    state: Mutex<State<Q>>,
    item: PhantomData<fn(T)>,
}

struct State<Q> {
    queue: Q,
    /// Since when the body has not come for more: it took something, which its peer does not take, or something waits for it.
    owing: Option<Instant>,
    /// Of the body that waits for more.
    waker: Option<Waker>,
    /// Set once: nothing is accepted any more.
    ended: Option<Status>,
}

pub(crate) enum Next<R> {
    Item(R),
    /// The queue is empty and stays so.
    End(Status),
}

impl<T, Q: Queue<T>> Mailbox<T, Q> {
    pub(crate) fn new() -> Mailbox<T, Q> {
        let state = State { queue: Q::default(), owing: None, waker: None, ended: None };
        Mailbox { state: Mutex::new(state), item: PhantomData }
    }

    /// Appends, unless the mailbox has ended or would hold more than `limit`.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = T>, limit: usize) -> bool {
        let mut state = lock(&self.state);
        if state.ended.is_some() || state.queue.len() >= limit {
            return false;
        }
        items.into_iter().for_each(|item| state.queue.append(item));
        state.owing.get_or_insert_with(Instant::now);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Lets the body look again, at a queue from which it took nothing.
    pub(crate) fn wake(&self) {
        let waker = lock(&self.state).waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// What `take` gets from the queue, or the end. `take` returns none when it finds nothing to send.
    pub(crate) fn poll_next<R>(&self, cx: &mut Context<'_>, take: impl FnOnce(&mut Q) -> Option<R>) -> Poll<Next<R>> {
        let mut state = lock(&self.state);
        if let Some(item) = take(&mut state.queue) {
            state.owing = Some(Instant::now());
            return Poll::Ready(Next::Item(item));
        }
        if let Some(status) = &state.ended {
            return Poll::Ready(Next::End(status.clone()));
        }
        if state.queue.len() == 0 {
            state.owing = None;
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The time for what waits begins now.
    pub(crate) fn restart(&self) {
        let mut state = lock(&self.state);
        state.owing = (state.queue.len() > 0).then(Instant::now);
    }

    /// Whether the peer has taken nothing of what is there for so long.
    pub(crate) fn is_stalled(&self, patience: Duration) -> bool {
        lock(&self.state).owing.is_some_and(|since| since.elapsed() >= patience)
    }

    /// Accepts nothing more; what is queued still goes out. The first end counts.
    pub(crate) fn finish(&self, status: Status) {
        self.end(status, |_| ());
    }

    /// Accepts nothing more and drops what is queued.
    pub(crate) fn cut(&self, status: Status) {
        // Dropped after the lock is released: items free memory and count it.
        let mut dropped = Q::default();
        self.end(status, |queue| dropped = std::mem::take(queue));
    }

    fn end(&self, status: Status, with_queue: impl FnOnce(&mut Q)) {
        let mut state = lock(&self.state);
        with_queue(&mut state.queue);
        state.ended.get_or_insert(status);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Keeps only what `keep` says; true when nothing is left.
    pub(crate) fn retain(&self, keep: impl Fn(&T) -> bool) -> bool {
        let mut state = lock(&self.state);
        let dropped = state.queue.take_all_but(keep);
        let empty = state.queue.len() == 0;
        // If it waits for the peer to have room, it hears that it need not.
        let waker = if empty { state.waker.take() } else { None };
        drop(state);
        drop(dropped);
        waker.into_iter().for_each(Waker::wake);
        empty
    }
}
