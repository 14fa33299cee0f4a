//! A queue between whoever has something to send and the call body that sends it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use crate::link::Status;
use crate::lock;

pub(crate) struct Mailbox<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    queue: VecDeque<T>,
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

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox { state: Mutex::new(State { queue: VecDeque::new(), waker: None, ended: None }) }
    }

    /// Appends, unless the mailbox has ended or would hold more than `limit`.
    pub(crate) fn push(&self, items: impl IntoIterator<Item = T>, limit: usize) -> bool {
        let mut state = lock(&self.state);
        if state.ended.is_some() || state.queue.len() >= limit {
            return false;
        }
        state.queue.extend(items);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// What `take` gets from the queue, or the end. `take` returns none when it finds nothing to send.
    pub(crate) fn poll_next<R>(
        &self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut VecDeque<T>) -> Option<R>,
    ) -> Poll<Next<R>> {
        let mut state = lock(&self.state);
        if let Some(item) = take(&mut state.queue) {
            return Poll::Ready(Next::Item(item));
        }
        if let Some(status) = &state.ended {
            return Poll::Ready(Next::End(status.clone()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Accepts nothing more; what is queued still goes out. The first end counts.
    pub(crate) fn finish(&self, status: Status) {
        self.end(status, |_| ());
    }

    /// Accepts nothing more and drops what is queued.
    pub(crate) fn cut(&self, status: Status) {
        // Dropped after the lock is released: items free memory and count it.
        let mut dropped = VecDeque::new();
        self.end(status, |queue| dropped = std::mem::take(queue));
    }

    fn end(&self, status: Status, with_queue: impl FnOnce(&mut VecDeque<T>)) {
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
        let (kept, dropped): (VecDeque<T>, VecDeque<T>) = std::mem::take(&mut state.queue).into_iter().partition(keep);
        let empty = kept.is_empty();
        state.queue = kept;
        drop(state);
        drop(dropped);
        empty
    }
}
