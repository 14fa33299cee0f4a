//! The data plane of one process, and what it reports to JavaScript.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::Object;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status, check_status, sys};
use napi_derive::napi;
use ulysses_dataplane::{self as dataplane, Connected, Event, Plane, PlaneOptions, Transport};

use crate::checked::{extent, whole};
use crate::failure::{Failure, Result};
use crate::queue::Deferred;
use crate::region::Memory;
use crate::step::{Party, RowsToSend, SegmentPlace, StepKey, StepRegistration, segments, tensor};

/// `PlaneEvent` of `src/types.ts`.
#[napi(discriminant = "kind", discriminant_case = "kebab-case", object_from_js = false)]
pub enum PlaneEvent {
    Granule { key: StepKey, granule: u32 },
    Received { key: StepKey },
    Sent { key: StepKey },
    Relayed { key: StepKey },
    Failed { key: StepKey, code: String, message: String, peer: String },
    LinkLost { link: String, reason: String },
}

impl From<Event> for PlaneEvent {
    fn from(event: Event) -> PlaneEvent {
        match event {
            Event::Granule { key, granule } => PlaneEvent::Granule { key: key.into(), granule },
            Event::Received { key } => PlaneEvent::Received { key: key.into() },
            Event::Sent { key } => PlaneEvent::Sent { key: key.into() },
            Event::Relayed { key } => PlaneEvent::Relayed { key: key.into() },
            Event::Failed { key, code, message, peer } => PlaneEvent::Failed { key: key.into(), code, message, peer },
            Event::LinkLost { link, reason } => PlaneEvent::LinkLost { link, reason },
        }
    }
}

/// Calls JavaScript from the plane's thread: errors of the callback are uncaught exceptions there.
type Listener = ThreadsafeFunction<PlaneEvent, (), PlaneEvent, Status, false>;

/// Running sums since the plane was opened.
#[napi(object)]
pub struct Counters {
    pub sent_bytes: f64,
    pub received_bytes: f64,
    pub relayed_bytes: f64,
    pub shared_bytes: f64,
    pub staged_bytes: f64,
    pub unix_connections: f64,
    pub shared_connections: f64,
    pub steps: f64,
    pub links: f64,
}

#[napi(object)]
pub struct StepBytes {
    pub bytes_sent: f64,
    pub bytes_received: f64,
}

/// `TlsFiles` of `packages/runtime`.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct TlsFiles {
    pub cert: String,
    pub key: String,
    pub ca: String,
    pub server_name: Option<String>,
}

impl From<TlsFiles> for dataplane::TlsFiles {
    fn from(TlsFiles { cert, key, ca, server_name }: TlsFiles) -> dataplane::TlsFiles {
        dataplane::TlsFiles { cert: cert.into(), key: key.into(), ca: ca.into(), server_name }
    }
}

/// `NativeConnections` of `src/native.ts`.
#[napi(object, object_to_js = false, use_nullable = true)]
pub struct Connections {
    pub tls: Option<TlsFiles>,
    pub insecure: bool,
    pub silent_peer_ms: f64,
    pub slow_peer_ms: f64,
}

struct Open {
    plane: Arc<Plane>,
    listener: Arc<Listener>,
    listens: bool,
}

#[napi]
pub struct TensorPlane {
    /// None once it is closed.
    open: Mutex<Option<Open>>,
}

#[napi]
impl TensorPlane {
    /// `listen` is `host:port`; the plane then keeps the process alive until it is closed. One that only dials does so while a
    /// step is registered. `transport` is one of `Transport` in `src/types.ts`, `connections` how TCP is secured and what peers are
    /// given time for.
    #[napi(factory, catch_unwind)]
    #[allow(clippy::too_many_arguments, reason = "they are named in TypeScript")]
    pub fn open(
        env: Env,
        memory: &Memory,
        listen: Option<String>,
        transport_name: String,
        shared_bytes: f64,
        connections: Connections,
        description: String,
        listener: Listener,
    ) -> napi::Result<TensorPlane> {
        let listens = listen.is_some();
        let (transport, shared_bytes) = (transport(&transport_name)?, extent("sharedBytes", shared_bytes)?);
        let milliseconds = |name, value| Ok::<_, Failure>(Duration::from_millis(extent(name, value)? as u64));
        let options = PlaneOptions {
            listen,
            transport,
            shared_bytes,
            tls: connections.tls.map(Into::into),
            insecure: connections.insecure,
            silent_peer_timeout: milliseconds("silentPeerMs", connections.silent_peer_ms)?,
            slow_peer_timeout: milliseconds("slowPeerMs", connections.slow_peer_ms)?,
            ..PlaneOptions::new(description)
        };
        let listener = Arc::new(listener);
        let callee = listener.clone();
        let report = move |event: Event| {
            // Refused only while the environment ends.
            callee.call(event.into(), ThreadsafeFunctionCallMode::NonBlocking);
        };
        let plane = Plane::open(options, memory.pool.clone(), Box::new(report)).map_err(Failure::from)?;
        let plane = Arc::new(plane);
        let ended = Arc::downgrade(&plane);
        env.add_env_cleanup_hook(ended, |plane| {
            if let Some(plane) = plane.upgrade() {
                plane.close();
            }
        })?;
        let open = Open { plane, listener, listens };
        open.keep_alive(env)?;
        Ok(TensorPlane { open: Mutex::new(Some(open)) })
    }

    /// Where it listens.
    #[napi(catch_unwind)]
    pub fn address(&self) -> napi::Result<Option<String>> {
        self.with(|open| Ok(open.plane.local_addr().map(|address| address.to_string())))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn connect_rank<'e>(
        &self,
        env: &'e Env,
        link: String,
        address: String,
        party: String,
        deadline_ms: f64,
    ) -> napi::Result<Object<'e>> {
        self.with(|open| {
            let deadline = deadline(deadline_ms)?;
            let (connected, promise) = settling(env)?;
            open.plane.connect_rank(&link, &address, &party, deadline, connected);
            Ok(promise)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn connect_owner<'e>(
        &self,
        env: &'e Env,
        link: String,
        address: String,
        party: String,
        deadline_ms: f64,
    ) -> napi::Result<Object<'e>> {
        self.with(|open| {
            let deadline = deadline(deadline_ms)?;
            let (connected, promise) = settling(env)?;
            open.plane.connect_owner(&link, &address, &party, deadline, connected);
            Ok(promise)
        })
    }

    #[napi(catch_unwind)]
    pub fn disconnect(&self, link: String) -> napi::Result<()> {
        self.with(|open| {
            open.plane.disconnect(&link);
            Ok(())
        })
    }

    #[napi(catch_unwind)]
    pub fn register_step(&self, env: Env, registration: StepRegistration) -> napi::Result<()> {
        let registration = registration.parse()?;
        self.with(|open| {
            open.plane.register_step(registration).map_err(Failure::from)?;
            open.keep_alive(env)
        })
    }

    #[napi(catch_unwind)]
    pub fn send(
        &self,
        key: StepKey,
        destination: Party,
        tensor_name: String,
        first_segment: f64,
        places: Vec<SegmentPlace>,
    ) -> napi::Result<()> {
        let (key, destination) = (key.parse()?, destination.parse("destination")?);
        let (tensor, segments) = (tensor(&tensor_name)?, segments(places)?);
        let first_segment = whole("firstSegment", first_segment, 0, u32::MAX.into())? as u32;
        self.with(|open| {
            let sent = open.plane.send(&key, destination, tensor, first_segment, segments);
            Ok(sent.map_err(Failure::from)?)
        })
    }

    /// Rows of segments: all of them or, when some are refused, none.
    #[napi(catch_unwind)]
    pub fn send_rows(&self, key: StepKey, sends: Vec<RowsToSend>) -> napi::Result<()> {
        let key = key.parse()?;
        let sends = sends.into_iter().map(RowsToSend::parse).collect::<Result<_>>()?;
        self.with(|open| Ok(open.plane.send_rows(&key, sends).map_err(Failure::from)?))
    }

    /// Milliseconds since the first row of a step was placed; null when none was.
    #[napi(catch_unwind)]
    pub fn since_first_row_ms(&self, key: StepKey) -> napi::Result<Option<f64>> {
        let key = key.parse()?;
        self.with(|open| Ok(open.plane.since_first_row(&key).map(|since| since.as_secs_f64() * 1e3)))
    }

    /// Forgets the step: nothing more is placed in its memory, or sent from it.
    #[napi(catch_unwind)]
    pub fn close_step(&self, env: Env, key: StepKey) -> napi::Result<StepBytes> {
        let key = key.parse()?;
        self.with(|open| {
            let bytes_sent = open.plane.step_sent_bytes(&key).unwrap_or(0) as f64;
            let bytes_received = open.plane.step_received_bytes(&key).unwrap_or(0) as f64;
            open.plane.close_step(&key);
            open.keep_alive(env)?;
            Ok(StepBytes { bytes_sent, bytes_received })
        })
    }

    #[napi(catch_unwind)]
    pub fn counters(&self) -> napi::Result<Counters> {
        self.with(|open| {
            let counters = open.plane.counters();
            Ok(Counters {
                sent_bytes: counters.sent_bytes as f64,
                received_bytes: counters.received_bytes as f64,
                relayed_bytes: counters.relayed_bytes as f64,
                shared_bytes: counters.shared_bytes as f64,
                staged_bytes: counters.staged_bytes as f64,
                unix_connections: counters.unix_connections as f64,
                shared_connections: counters.shared_connections as f64,
                steps: counters.steps as f64,
                links: counters.links as f64,
            })
        })
    }

    /// Size of the memory that peers of this host read in place.
    #[napi(catch_unwind)]
    pub fn arena_bytes(&self) -> napi::Result<f64> {
        self.with(|open| Ok(open.plane.arena_bytes() as f64))
    }

    /// Ends links and steps. Does nothing the second time.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(open) = open {
            open.plane.close();
        }
    }

    fn with<T>(&self, call: impl FnOnce(&Open) -> napi::Result<T>) -> napi::Result<T> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || Failure::new("CANCELLED", "the tensor plane is closed");
        call(open.as_ref().ok_or_else(closed)?)
    }
}

impl Open {
    /// Whether the event loop waits for this plane's events.
    fn keep_alive(&self, env: Env) -> napi::Result<()> {
        let waits = self.listens || self.plane.counters().steps > 0;
        self.listener.handle.with_read_aborted(|aborted| {
            if aborted {
                return Ok(());
            }
            let raw = self.listener.raw();
            // SAFETY: the function is alive as long as it is not aborted, and this is the environment's own thread.
            check_status!(unsafe {
                if waits {
                    sys::napi_ref_threadsafe_function(env.raw(), raw)
                } else {
                    sys::napi_unref_threadsafe_function(env.raw(), raw)
                }
            })
        })
    }
}

fn transport(name: &str) -> Result<Transport> {
    match name {
        "auto" => Ok(Transport::Shared),
        "unix" => Ok(Transport::Unix),
        "tcp" => Ok(Transport::Tcp),
        other => Err(Failure::shape("transport", other, "auto, unix or tcp")),
    }
}

fn deadline(deadline_ms: f64) -> Result<Duration> {
    whole("deadlineMs", deadline_ms, 1, u32::MAX.into()).map(Duration::from_millis)
}

/// A promise, and the callback that settles it.
fn settling(env: &Env) -> napi::Result<(Connected, Object<'_>)> {
    let (deferred, promise): (Deferred, _) = env.create_deferred()?;
    let connected = move |outcome: dataplane::Result<()>| match outcome {
        Ok(()) => deferred.resolve(|_| Ok(())),
        Err(error) => deferred.reject(Failure::from(error).into()),
    };
    Ok((Box::new(connected), promise))
}
