//! Core-owned memory and its view in JavaScript.

use std::sync::Mutex;

use napi::bindgen_prelude::{ArrayBuffer, ClassInstance, FromNapiValue, JsObjectValue, Object};
use napi::{Env, sys};
use napi_derive::napi;
use ulysses_dataplane::{self as dataplane, RegionPool};

use crate::checked::extent;
use crate::failure::Failure;

/// Where the regions of one environment come from.
#[napi]
pub struct Memory {
    pub(crate) pool: RegionPool,
}

/// In bytes.
#[napi(object)]
pub struct MemoryUsage {
    pub allocated_bytes: f64,
    pub shared_bytes: f64,
    pub retained_bytes: f64,
}

#[napi]
impl Memory {
    /// Freed memory is kept for reuse up to `retain_bytes`.
    #[napi(constructor, catch_unwind)]
    pub fn new(retain_bytes: f64) -> napi::Result<Memory> {
        let pool = RegionPool::new(extent("retainBytes", retain_bytes)?);
        Ok(Memory { pool })
    }

    #[napi(catch_unwind)]
    pub fn allocate(&self, size_bytes: f64) -> napi::Result<Region> {
        let size = extent("sizeBytes", size_bytes)?;
        let region = self.pool.allocate(size).map_err(Failure::from)?;
        Ok(Region { memory: Mutex::new(Some(region)) })
    }

    /// Where peers of this host read it in place, while there is room.
    #[napi(catch_unwind)]
    pub fn allocate_shared(&self, size_bytes: f64) -> napi::Result<Region> {
        let size = extent("sizeBytes", size_bytes)?;
        let region = self.pool.allocate_shared(size).map_err(Failure::from)?;
        Ok(Region { memory: Mutex::new(Some(region)) })
    }

    /// A region that holds a copy. Unlike writing through a view, this leaves the engine nothing to collect.
    #[napi(catch_unwind)]
    pub fn copy_of(&self, bytes: &[u8]) -> napi::Result<Region> {
        let region = self.pool.copy_of(bytes).map_err(Failure::from)?;
        Ok(Region { memory: Mutex::new(Some(region)) })
    }

    #[napi(catch_unwind)]
    pub fn usage(&self) -> MemoryUsage {
        let usage = self.pool.usage();
        MemoryUsage {
            allocated_bytes: usage.allocated_bytes as f64,
            shared_bytes: usage.shared_bytes as f64,
            retained_bytes: usage.retained_bytes as f64,
        }
    }
}

/// JavaScript's reference to a region. The bytes live on while a job, a plane or a view uses them.
///
/// V8 is not told how large it is: that made it collect all garbage once per 64 MiB allocated, 26 ms each over a heap of
/// 300,000 objects, though regions are freed explicitly. Views it counts by itself.
#[napi]
pub struct Region {
    /// None once it is freed.
    memory: Mutex<Option<dataplane::Region>>,
}

#[napi]
impl Region {
    /// A view of the memory itself; call it once, since an engine refuses a second buffer at the same address.
    #[napi(catch_unwind)]
    pub fn view<'e>(&self, env: &'e Env) -> napi::Result<ArrayBuffer<'e>> {
        let region = self.share().ok_or_else(|| Failure::shape("region", "freed", "a live region"))?;
        let (start, len) = (region.as_ptr(), region.len());
        // SAFETY: the finalizer owns a clone of the region, so the bytes outlive the buffer. Races between JavaScript
        // and native work on the same bytes are ruled out by M2 of the region's module, which callers are told about.
        unsafe { ArrayBuffer::from_external(env, start, len, region, |_, region| drop(region)) }
    }

    /// Takes the memory away from `view`, which is empty from then on.
    #[napi(catch_unwind)]
    pub fn detach(&self, view: ArrayBuffer) -> napi::Result<()> {
        view.detach()
    }

    #[napi(catch_unwind)]
    pub fn free(&self) {
        self.memory.lock().expect("no code panics while it holds this lock").take();
    }

    fn share(&self) -> Option<dataplane::Region> {
        self.memory.lock().expect("no code panics while it holds this lock").clone()
    }
}

/// The memory behind a TypeScript `Region`; none when it is freed.
pub struct Lent(pub Option<dataplane::Region>);

impl FromNapiValue for Lent {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Lent> {
        // SAFETY: both values come from the engine, in this call.
        let face = unsafe { Object::from_napi_value(env, value) }?;
        let region: ClassInstance<Region> = face.get_named_property("handle")?;
        Ok(Lent(region.share()))
    }
}
