//! The data plane of one sequence owner, which only dials.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use ulysses_dataplane::{
    self as dataplane, Code, Error, Party, PlaneOptions, Receive, RegionPool, Role, Route, StepRegistration, Tensor,
    TlsFiles,
};

use crate::failure::{closed, failure};
use crate::progress::Progress;
use crate::rows::{Returned, place};
use crate::step::{Key, PartyName, Step, key, party, tensor};
use crate::watched::Watched;

/// Most bytes of packed rows that are kept for the next step. A plane packs at most one chunk per link at a time, beside
/// what the socket has not taken.
const RETAINED_BYTES: usize = 64 << 20;

/// Certificate, key, authorities, and the name to expect.
type TlsPaths = (PathBuf, PathBuf, PathBuf, Option<String>);

fn files((cert, key, ca, server_name): TlsPaths) -> TlsFiles {
    TlsFiles { cert, key, ca, server_name }
}

/// What a plane and its steps share.
pub struct Open {
    pub plane: dataplane::Plane,
    pub progress: Arc<Watched<Progress>>,
    pub returned: Arc<Returned>,
}

#[pyclass(frozen, module = "ulysses_native")]
pub struct Plane {
    /// None once it is closed.
    open: Mutex<Option<Arc<Open>>>,
}

impl Plane {
    fn open(&self) -> PyResult<Arc<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }
}

#[pymethods]
impl Plane {
    /// `description` is how ranks read of this process in refusals: `owner 0`.
    #[new]
    #[pyo3(signature = (description, *, tls = None, insecure = false, silent_peer_ms = 20_000))]
    fn new(
        py: Python<'_>,
        description: String,
        tls: Option<TlsPaths>,
        insecure: bool,
        silent_peer_ms: u64,
    ) -> PyResult<Plane> {
        let progress: Arc<Watched<Progress>> = Arc::default();
        let heard = progress.clone();
        let options = PlaneOptions {
            tls: tls.map(files),
            insecure,
            silent_peer_timeout: Duration::from_millis(silent_peer_ms),
            ..PlaneOptions::new(description)
        };
        let sink = Box::new(move |event| Progress::hear(&heard, event));
        let plane = py.detach(|| dataplane::Plane::open(options, RegionPool::new(RETAINED_BYTES), sink));
        let plane = plane.map_err(failure)?;
        let open = Open { plane, progress, returned: Arc::default() };
        Ok(Plane { open: Mutex::new(Some(Arc::new(open))) })
    }

    /// Begins to open Push and Pull to a rank at `host:port`, unless the link is up or being dialled. Does not wait.
    fn dial(&self, py: Python<'_>, link: String, address: String, party: String, seconds: f64) -> PyResult<()> {
        let open = self.open()?;
        py.detach(|| {
            let Some(number) = open.progress.change(|progress| progress.links.begin(&link)) else { return };
            let (heard, name) = (open.progress.clone(), link.clone());
            let connected = move |outcome| heard.change(|progress| progress.links.end(&name, number, outcome));
            let deadline = Duration::try_from_secs_f64(seconds.max(0.001)).unwrap_or(Duration::MAX);
            open.plane.connect_owner(&link, &address, &party, deadline, Box::new(connected));
        });
        Ok(())
    }

    /// Until a dialled link is up. Raises why it is not, or DEADLINE after `seconds`.
    fn wait_connected(&self, py: Python<'_>, link: &str, seconds: f64) -> PyResult<()> {
        let open = self.open()?;
        let outcome = open.progress.wait(py, seconds, |progress| progress.links.outcome(link))?;
        let late = || Err(Error::new(Code::Deadline, format!("link {link} was not up within {seconds} s")));
        outcome.unwrap_or_else(late).map_err(failure)
    }

    /// unknown, dialling, connected, failed or lost.
    fn link_state(&self, link: &str) -> PyResult<&'static str> {
        Ok(self.open()?.progress.lock().links.state(link))
    }

    /// Ends all other links, but for those that steps use.
    fn keep_links(&self, py: Python<'_>, links: Vec<String>) -> PyResult<()> {
        let open = self.open()?;
        py.detach(|| {
            let others = open.progress.change(|progress| {
                let mut names = progress.links.names();
                names.retain(|name| {
                    !links.contains(name) && !progress.steps.values().any(|step| step.links.contains(name))
                });
                names.iter().for_each(|name| progress.links.forget(name));
                names
            });
            others.iter().for_each(|name| open.plane.disconnect(name));
        });
        Ok(())
    }

    /// Reserves memory for what is received: source, tensor, and rows in the order of their numbers. `routes` says on
    /// which link each destination is reached.
    #[expect(clippy::too_many_arguments, reason = "they are named in Python")]
    fn register_step(
        &self,
        py: Python<'_>,
        key: Key,
        epoch: u64,
        owner: u32,
        receives: Vec<(PartyName, String, Vec<Bound<'_, PyAny>>)>,
        routes: Vec<(PartyName, String)>,
        send_bytes: u64,
    ) -> PyResult<Step> {
        let open = self.open()?;
        open.returned.release(py);
        let registration = StepRegistration {
            key: self::key(key)?,
            epoch,
            party: Party { role: Role::Owner, index: owner },
            receives: receives
                .into_iter()
                .map(|(source, name, rows)| receive(source, &name, &rows, &open.returned))
                .collect::<PyResult<_>>()?,
            routes: routes
                .into_iter()
                .map(|(destination, link)| Ok(Route { destination: party(destination)?, link }))
                .collect::<PyResult<_>>()?,
            relay_bytes: 0,
            send_bytes,
        };
        py.detach(|| {
            let step = registration.key.clone();
            let links = registration.routes.iter().map(|route| route.link.clone()).collect();
            // Before the plane knows the step, which reports at once what it need not wait for.
            if !open.progress.change(|progress| progress.begin(&step, links)) {
                return Err(failure(Error::new(Code::PlanInvalid, format!("step {step} is registered already"))));
            }
            match open.plane.register_step(registration) {
                Ok(()) => Ok(Step::new(open.clone(), step)),
                Err(error) => {
                    open.progress.change(|progress| progress.steps.remove(&step));
                    Err(failure(error))
                }
            }
        })
    }

    /// Sums since it was opened, and what it holds now.
    fn counters(&self, py: Python<'_>) -> PyResult<BTreeMap<&'static str, u64>> {
        let open = self.open()?;
        let counters = py.detach(|| open.plane.counters());
        Ok(BTreeMap::from([
            ("sent_bytes", counters.sent_bytes),
            ("received_bytes", counters.received_bytes),
            ("shared_bytes", counters.shared_bytes),
            ("unix_connections", counters.unix_connections as u64),
            ("shared_connections", counters.shared_connections as u64),
            ("steps", counters.steps as u64),
            ("links", counters.links as u64),
        ]))
    }

    /// Ends steps, links and the thread, for which it waits. Harmless when repeated.
    fn close(&self, py: Python<'_>) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(open) = open else { return };
        py.detach(|| {
            open.plane.close();
            // Whoever waits hears that it is over.
            open.progress.change(|progress| {
                progress.steps = HashMap::new();
                progress.links = Default::default();
            });
        });
        open.returned.release(py);
    }
}

fn receive(source: PartyName, name: &str, rows: &[Bound<'_, PyAny>], returned: &Arc<Returned>) -> PyResult<Receive> {
    let (source, tensor): (Party, Tensor) = (party(source)?, tensor(name)?);
    let segments = rows.iter().map(|rows| place(rows, true, returned)).collect::<PyResult<_>>()?;
    Ok(Receive { source, tensor, segments })
}
