//! How many bytes each step has received, by the granules that it reported: the data plane itself sums over all steps.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ulysses_dataplane::{Plane, Result, StepKey, StepRegistration};

#[derive(Default)]
pub struct Received {
    steps: Mutex<HashMap<StepKey, Step>>,
}

struct Step {
    granule_bytes: HashMap<u32, u64>,
    placed_bytes: u64,
}

impl Received {
    /// Registers a step with the plane. Its granules, which the plane may report at once, are counted after this.
    pub fn register(&self, plane: &Plane, registration: StepRegistration) -> Result<()> {
        let key = registration.key.clone();
        let mut granule_bytes = HashMap::new();
        for place in registration.receives.iter().flat_map(|receive| &receive.segments) {
            *granule_bytes.entry(place.granule).or_default() += place.bytes() as u64;
        }
        let mut steps = self.lock();
        plane.register_step(registration)?;
        steps.insert(key, Step { granule_bytes, placed_bytes: 0 });
        Ok(())
    }

    /// A granule is complete.
    pub fn count(&self, key: &StepKey, granule: u32) {
        if let Some(step) = self.lock().get_mut(key) {
            step.placed_bytes += step.granule_bytes.get(&granule).copied().unwrap_or(0);
        }
    }

    /// Forgets a step and returns its bytes.
    pub fn close(&self, key: &StepKey) -> u64 {
        self.lock().remove(key).map_or(0, |step| step.placed_bytes)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StepKey, Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
