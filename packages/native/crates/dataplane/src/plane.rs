//! The plane: one thread that owns all sockets, and the calls others make to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::events::{Event, EventSink};
use crate::link::{Dial, Done, Kind, Listener, Status, dial, serve};
use crate::lock;
use crate::memory::RegionPool;
use crate::names::{Party, StepKey, Tensor};
use crate::options::{PlaneOptions, Transport};
use crate::registration::{RowsToSend, SegmentPlace, StepRegistration};
use crate::traffic::Counters;

/// Hears once how dialling went, usually on the plane's thread; CANCELLED if the link was replaced or the plane closed before.
pub type Connected = Box<dyn FnOnce(Result<()>) + Send>;

/// Moves slices between this process and its peers. All calls return at once and may come from any thread.
///
/// Peers that dial in are named by the `ulysses-party` metadata of their calls. Slices for a link called `owner/...` wait for
/// the Pull call of that name; any other link must be connected before something is sent on it.
pub struct Plane {
    engine: Arc<Engine>,
    handle: Handle,
    local_addr: Option<SocketAddr>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Plane {
    /// Starts the thread and listens. Fails with CONFIG when it cannot, or cannot use its certificates. Strided rows are packed in memory of `pool`.
    pub fn open(options: PlaneOptions, pool: RegionPool, sink: EventSink) -> Result<Plane> {
        let config = |what: &str, error: std::io::Error| Error::new(Code::Config, format!("{what}: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| config("runtime", error))?;
        let (local_addr, listeners) = {
            let _in_runtime = runtime.enter();
            match &options.listen {
                Some(address) => listen(address, options.transport != Transport::Tcp)
                    .map(|(local, listeners)| (Some(local), listeners))
                    .map_err(|error| config(&format!("listen {address}"), error))?,
                None => (None, Vec::new()),
            }
        };
        let handle = runtime.handle().clone();
        let (events, reported) = unbounded_channel();
        let engine = Arc::new(Engine::new(options, pool, events)?);
        let (stop, stopped) = oneshot::channel();
        let served = engine.clone();
        let thread = thread::Builder::new()
            .name("ulysses-plane".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::spawn(report(reported, sink));
                    for listener in listeners {
                        tokio::spawn(serve(served.clone(), listener));
                    }
                    // An error says that the sender was dropped, which means the same.
                    let _ = stopped.await;
                });
                // Sockets and queues go with the tasks that own them, memory with the steps. Nobody waits for a name
                // that is being resolved.
                runtime.shutdown_background();
                served.clear();
            })
            .map_err(|error| config("thread", error))?;
        let running = Mutex::new(Some(Running { stop, thread }));
        Ok(Plane { engine, handle, local_addr, running })
    }

    /// Where it listens; none for a plane that only dials.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Opens the Push call to a rank at `host:port`. `party` is who this process is: the `ulysses-party` of the call.
    /// An earlier link of the same name is replaced, without an event.
    pub fn connect_rank(&self, link: &str, address: &str, party: &str, deadline: Duration, done: Connected) {
        self.connect(Kind::Rank, link, address, party, deadline, done);
    }

    /// Opens Push and Pull to a rank, for a sequence owner: the rank sends on what was pulled.
    pub fn connect_owner(&self, link: &str, address: &str, party: &str, deadline: Duration, done: Connected) {
        self.connect(Kind::Owner, link, address, party, deadline, done);
    }

    fn connect(&self, kind: Kind, link: &str, address: &str, party: &str, deadline: Duration, done: Connected) {
        let (id, replaced) = lock(&self.engine.links).begin_dial(link);
        replaced.end(Status::new(Status::ABORTED, "replaced by a new link of the same name"));
        let (address, party, name) = (address.to_string(), party.to_string(), link.to_string());
        let spec = Dial { link: name, address, party, kind, deadline };
        // If the plane is closed, the task is dropped here and tells so.
        let task = self.handle.spawn(dial(self.engine.clone(), spec, id, Done::new(done)));
        if !lock(&self.engine.links).set_dial_task(link, id, task.abort_handle()) {
            task.abort();
        }
    }

    /// Ends a dialled link, without an event. Names that are not known are ignored.
    pub fn disconnect(&self, link: &str) {
        self.engine.disconnect(link);
    }

    /// Admits slices of a step. Fails with PLAN_INVALID when places leave their regions or the step is
    /// registered already, with CANCELLED when the plane is closed.
    pub fn register_step(&self, registration: StepRegistration) -> Result<()> {
        self.engine.register_step(registration)
    }

    /// Sends segments `first_segment`, `first_segment + 1`, ... of (this party, destination, tensor). Only references are
    /// queued: the rows must not be written until they are sent or the step is closed. Fails with PLAN_INVALID for what the
    /// registration does not allow, with CANCELLED for a closed step; that a link is not connected is a `Failed` event.
    pub fn send(
        &self,
        step: &StepKey,
        destination: Party,
        tensor: Tensor,
        first_segment: u32,
        segments: Vec<SegmentPlace>,
    ) -> Result<()> {
        let numbered = segments.into_iter().zip(first_segment..);
        let whole = numbered.map(|(place, segment)| {
            let rows = 0..place.rows;
            RowsToSend { destination, tensor, segment, place, rows }
        });
        self.send_rows(step, whole.collect())
    }

    /// Sends rows of any segments: all or, when it fails, none. Rows of a segment leave in their order.
    pub fn send_rows(&self, step: &StepKey, sends: Vec<RowsToSend>) -> Result<()> {
        self.engine.send(step, sends)
    }

    /// Forgets a step: queued slices are dropped, and once this has returned nothing is placed in its memory any more. Also
    /// ends a step early. Slices of a closed step are refused from now on, also if it was never registered.
    /// Acks for other parties pass through a relay's step: it is to be closed when all have finished, not before.
    pub fn close_step(&self, step: &StepKey) {
        self.engine.close_step(step);
    }

    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// Size of the memory that peers of this host read in place: that of the pool's first plane, 0 without any.
    pub fn arena_bytes(&self) -> usize {
        self.engine.arena.as_ref().map_or(0, |arena| arena.size())
    }

    /// Payload of a step handed to connections so far, relayed bytes included; none when it is not registered.
    pub fn step_sent_bytes(&self, step: &StepKey) -> Option<u64> {
        self.engine.step_sent_bytes(step)
    }

    /// Payload of a step placed in its memory so far; none when it is not registered.
    pub fn step_received_bytes(&self, step: &StepKey) -> Option<u64> {
        self.engine.step_received_bytes(step)
    }

    /// How long ago the first row of a step was placed; none when it is not registered, or none was.
    pub fn since_first_row(&self, step: &StepKey) -> Option<Duration> {
        self.engine.since_first_row(step)
    }

    /// Ends links, sockets and steps, and waits for the thread. No event follows. Dropping does the same.
    pub fn close(&self) {
        let Some(Running { stop, thread }) = lock(&self.running).take() else { return };
        // The thread may have ended by itself only by a panic, which `join` tells.
        let _ = stop.send(());
        if thread.thread().id() != thread::current().id() {
            // A panic of the event sink ended the thread; sockets and memory went with it all the same.
            let _ = thread.join();
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.close();
    }
}

/// Where peers dial, and what accepts them: TCP, and for peers of this host a unix socket of the same name where there can be one.
fn listen(address: &str, by_unix: bool) -> std::io::Result<(SocketAddr, Vec<Listener>)> {
    let tcp = std::net::TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    let local = tcp.local_addr()?;
    let unix = if by_unix { Listener::unix(local).ok() } else { None };
    let tcp = Listener::Tcp(tokio::net::TcpListener::from_std(tcp)?);
    Ok((local, std::iter::once(tcp).chain(unix).collect()))
}

async fn report(mut reported: UnboundedReceiver<Event>, sink: EventSink) {
    while let Some(event) = reported.recv().await {
        sink(event);
    }
}
