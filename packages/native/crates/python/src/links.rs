//! Which links were dialled, and how that went.

use std::collections::HashMap;

use ulysses_dataplane::{Code, Error, Result};

#[derive(Default)]
pub struct Links {
    by_name: HashMap<String, Link>,
    dialled: u64,
}

struct Link {
    /// Tells an outcome of this dial from one of an earlier dial of the same name.
    number: u64,
    state: State,
}

enum State {
    Dialling,
    Connected,
    Failed(Error),
    Lost(String),
}

impl Links {
    /// A number for a new dial; none when the link is up or being dialled.
    pub fn begin(&mut self, name: &str) -> Option<u64> {
        let known = self.by_name.get(name).map(|link| &link.state);
        if matches!(known, Some(State::Dialling | State::Connected)) {
            return None;
        }
        self.dialled += 1;
        let link = Link { number: self.dialled, state: State::Dialling };
        self.by_name.insert(name.to_owned(), link);
        Some(self.dialled)
    }

    pub fn end(&mut self, name: &str, number: u64, outcome: Result<()>) {
        if let Some(link) = self.by_name.get_mut(name).filter(|link| link.number == number) {
            link.state = outcome.map_or_else(State::Failed, |()| State::Connected);
        }
    }

    pub fn lose(&mut self, name: String, reason: String) {
        if let Some(link) = self.by_name.get_mut(&name) {
            link.state = State::Lost(reason);
        }
    }

    pub fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    pub fn state(&self, name: &str) -> &'static str {
        match self.by_name.get(name).map(|link| &link.state) {
            None => "unknown",
            Some(State::Dialling) => "dialling",
            Some(State::Connected) => "connected",
            Some(State::Failed(_)) => "failed",
            Some(State::Lost(_)) => "lost",
        }
    }

    /// Why nothing can be sent on a link that was up.
    pub fn why_not(&self, name: &str) -> Option<String> {
        match &self.by_name.get(name)?.state {
            State::Lost(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// How dialling went; none while it goes on.
    pub fn outcome(&self, name: &str) -> Option<Result<()>> {
        let lost = |reason: &str| Err(Error::new(Code::PeerLost, format!("link {name}: {reason}")));
        match self.by_name.get(name).map(|link| &link.state) {
            None => Some(lost("it was disconnected")),
            Some(State::Dialling) => None,
            Some(State::Connected) => Some(Ok(())),
            Some(State::Failed(error)) => Some(Err(error.clone())),
            Some(State::Lost(reason)) => Some(lost(reason)),
        }
    }
}
