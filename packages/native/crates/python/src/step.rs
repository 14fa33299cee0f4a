//! One step of a sequence owner.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use ulysses_dataplane::{Code, Error, Party, Pass, Role, RowsToSend, StepKey, Tensor};

use crate::failure::{failure, shape};
use crate::plane::Open;
use crate::progress::StepEvent;
use crate::rows::place;

/// job, session, call, pass, attempt.
pub type Key = (String, String, u64, String, u32);
/// Role and index.
pub type PartyName = (String, u32);
/// Destination, tensor, segment, its rows, and which of them: from, up to.
type Part<'py> = (PartyName, String, u32, Bound<'py, PyAny>, usize, usize);

pub fn key((job, session, call, pass, attempt): Key) -> PyResult<StepKey> {
    let pass = match pass.as_str() {
        "forward" => Pass::Forward,
        "backward" => Pass::Backward,
        other => return Err(shape("key.pass", other, "forward or backward")),
    };
    Ok(StepKey { job, session, call, pass, attempt })
}

pub fn party((role, index): PartyName) -> PyResult<Party> {
    let role = match role.as_str() {
        "rank" => Role::Rank,
        "owner" => Role::Owner,
        other => return Err(shape("role", other, "rank or owner")),
    };
    Ok(Party { role, index })
}

pub fn tensor(name: &str) -> PyResult<Tensor> {
    let found = Tensor::ALL.into_iter().find(|tensor| tensor.as_str() == name);
    found.ok_or_else(|| shape("tensor", name, &Tensor::ALL.map(Tensor::as_str).join(", ")))
}

#[pyclass(frozen, module = "ulysses_native")]
pub struct Step {
    open: Arc<Open>,
    key: StepKey,
}

impl Step {
    pub fn new(open: Arc<Open>, key: StepKey) -> Step {
        Step { open, key }
    }

    fn end(&self) {
        self.open.plane.close_step(&self.key);
        self.open.progress.change(|progress| progress.steps.remove(&self.key));
    }
}

#[pymethods]
impl Step {
    /// Queues rows of segments in the order given: destination, tensor, number, rows, and which of them.
    fn send(&self, py: Python<'_>, parts: Vec<Part<'_>>) -> PyResult<()> {
        let part = |(destination, name, segment, rows, begin, end): Part<'_>| {
            let (destination, tensor) = (party(destination)?, tensor(&name)?);
            let place = place(&rows, false, &self.open.returned)?;
            Ok(RowsToSend { destination, tensor, segment, place, rows: begin..end })
        };
        let sends: Vec<_> = parts.into_iter().map(part).collect::<PyResult<_>>()?;
        py.detach(|| self.open.plane.send_rows(&self.key, sends)).map_err(failure)
    }

    /// What happened next; none after `seconds`, or when `wake` was called.
    fn wait<'py>(&self, py: Python<'py>, seconds: f64) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let happened = self.open.progress.wait(py, seconds, |progress| {
            let Some(step) = progress.steps.get_mut(&self.key) else {
                return Some(Err(Error::new(Code::Cancelled, format!("step {} is closed", self.key))));
            };
            let event = step.events.pop_front();
            let ends = event.is_some() || std::mem::take(&mut step.woken);
            ends.then_some(Ok(event))
        })?;
        match happened.transpose().map_err(failure)?.flatten() {
            None => Ok(None),
            Some(event) => tuple(py, event).map(Some),
        }
    }

    /// Ends the wait of now, or the next one.
    fn wake(&self, py: Python<'_>) {
        py.detach(|| {
            self.open.progress.change(|progress| {
                if let Some(step) = progress.steps.get_mut(&self.key) {
                    step.woken = true;
                }
            });
        });
    }

    /// Forgets the step and lets go of its rows: nothing is written to them any more. Harmless when repeated.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
        self.open.returned.release(py);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // Not P1: whoever drops a step has the interpreter. It waits for locks only, whose holders never do.
        self.end();
    }
}

fn tuple(py: Python<'_>, event: StepEvent) -> PyResult<Bound<'_, PyTuple>> {
    match event {
        StepEvent::Received => ("received",).into_pyobject(py),
        StepEvent::Sent => ("sent",).into_pyobject(py),
        StepEvent::Failed { code, message, peer } => ("failed", code, message, peer).into_pyobject(py),
        StepEvent::Lost { link, reason } => ("lost", link, reason).into_pyobject(py),
    }
}
