//! The device of one environment: a queue for kernels, and their scratch memory.

use std::sync::{Arc, Mutex, PoisonError};

use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;
use ulysses_kernels::{Isa, Workspaces};

use crate::failure::Result;
use crate::queue::{Deferred, Job, Queue, Work};

#[napi]
pub struct Device {
    pub(crate) workspaces: Arc<Workspaces>,
    queue: Arc<Queue>,
}

#[napi]
impl Device {
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env) -> napi::Result<Device> {
        let queue = Arc::new(Queue::default());
        env.add_env_cleanup_hook(queue.clone(), |queue| queue.close())?;
        Ok(Device { workspaces: Arc::new(Workspaces::new()), queue })
    }

    /// The best instruction set that this machine has.
    #[napi(catch_unwind)]
    pub fn detect_isa(&self) -> &'static str {
        Isa::detect().name()
    }
}

impl Device {
    /// Queues `work` and returns its promise.
    pub(crate) fn submit<'e>(
        &self,
        env: &'e Env,
        cancellation: Option<&Cancellation>,
        work: Result<Work>,
    ) -> napi::Result<Object<'e>> {
        let work = work?;
        self.queue.start()?;
        // The last step that can fail, see `Queue::start`.
        let (deferred, promise): (Deferred, _) = env.create_deferred()?;
        let job = Arc::new(Job::new(work, deferred));
        if let Some(cancellation) = cancellation {
            cancellation.attach(job.clone());
        }
        self.queue.submit(job);
        Ok(promise)
    }
}

/// Cancels the job that it was passed to.
#[napi]
#[derive(Default)]
pub struct Cancellation {
    job: Mutex<Option<Arc<Job>>>,
}

#[napi]
impl Cancellation {
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Cancellation {
        Cancellation::default()
    }

    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = job {
            job.cancel();
        }
    }

    fn attach(&self, job: Arc<Job>) {
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
    }
}
