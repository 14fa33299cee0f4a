//! What the plane reports, kept until somebody asks: links that are up or were lost, events of steps.

use std::collections::{HashMap, HashSet, VecDeque};

use ulysses_dataplane::{Event, StepKey};

use crate::links::Links;
use crate::watched::Watched;

/// `StepEvent` of `ulysses_native.pyi`.
pub enum StepEvent {
    Received,
    Sent,
    Failed { code: String, message: String, peer: String },
    Lost { link: String, reason: String },
}

#[derive(Default)]
pub struct Progress {
    pub links: Links,
    pub steps: HashMap<StepKey, StepProgress>,
}

#[derive(Default)]
pub struct StepProgress {
    /// The links that its rows take.
    pub links: HashSet<String>,
    pub events: VecDeque<StepEvent>,
    /// Somebody wants the wait to end.
    pub woken: bool,
}

impl Progress {
    /// Runs on the plane's thread.
    pub fn hear(progress: &Watched<Progress>, event: Event) {
        match event {
            // A step has one granule, which is everything.
            Event::Granule { .. } | Event::Relayed { .. } => {}
            Event::Received { key } => Progress::tell(progress, &key, StepEvent::Received),
            Event::Sent { key } => Progress::tell(progress, &key, StepEvent::Sent),
            Event::Failed { key, code, message, peer } => {
                Progress::tell(progress, &key, StepEvent::Failed { code, message, peer });
            }
            Event::LinkLost { link, reason } => progress.change(|progress| progress.lose(link, reason)),
        }
    }

    fn tell(progress: &Watched<Progress>, key: &StepKey, event: StepEvent) {
        progress.change(|progress| {
            if let Some(step) = progress.steps.get_mut(key) {
                step.events.push_back(event);
            }
        });
    }

    fn lose(&mut self, link: String, reason: String) {
        for step in self.steps.values_mut().filter(|step| step.links.contains(&link)) {
            step.events.push_back(StepEvent::Lost { link: link.clone(), reason: reason.clone() });
        }
        self.links.lose(link, reason);
    }

    /// A step on links of which some may be lost already. False when there is one of that name.
    pub fn begin(&mut self, key: &StepKey, links: HashSet<String>) -> bool {
        if self.steps.contains_key(key) {
            return false;
        }
        let mut step = StepProgress { links, ..StepProgress::default() };
        for link in &step.links {
            if let Some(reason) = self.links.why_not(link) {
                step.events.push_back(StepEvent::Lost { link: link.clone(), reason });
            }
        }
        self.steps.insert(key.clone(), step);
        true
    }
}
