//! Registered steps by key.

mod placing;
mod sending;
mod step;

pub(crate) use placing::Slot;
pub(crate) use step::{RelayHold, Step};

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::names::StepKey;

/// How many closed steps are remembered, to tell their late slices from early ones.
const CLOSED_KEYS: usize = 256;

#[derive(Default)]
pub(crate) struct Steps {
    open: HashMap<StepKey, Arc<Step>>,
    closed: VecDeque<StepKey>,
}

impl Steps {
    pub(crate) fn insert(&mut self, step: Arc<Step>) -> Result<()> {
        match self.open.entry(step.key.clone()) {
            Entry::Occupied(entry) => {
                let message = format!("key: step {} is registered already", entry.key());
                Err(Error::new(Code::PlanInvalid, message))
            }
            Entry::Vacant(entry) => {
                entry.insert(step);
                Ok(())
            }
        }
    }

    pub(crate) fn get(&self, key: &StepKey) -> Option<Arc<Step>> {
        self.open.get(key).cloned()
    }

    /// From now on the step's slices are late, also when it was never registered.
    pub(crate) fn remove(&mut self, key: &StepKey) -> Option<Arc<Step>> {
        if self.closed.len() == CLOSED_KEYS {
            self.closed.pop_front();
        }
        self.closed.push_back(key.clone());
        self.open.remove(key)
    }

    pub(crate) fn was_closed(&self, key: &StepKey) -> bool {
        self.closed.contains(key)
    }

    /// Whether a step that is not registered never will be: it was closed, or a newer attempt is known.
    pub(crate) fn is_late(&self, key: &StepKey) -> bool {
        self.was_closed(key) || self.open.keys().chain(&self.closed).any(|known| key.is_older_attempt(known))
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn drain(&mut self) -> Vec<Arc<Step>> {
        self.open.drain().map(|(_, step)| step).collect()
    }
}
