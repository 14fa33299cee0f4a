//! What a process tells its plane about one step: memory reserved for arrivals, routes, totals.

use crate::error::{Code, Error, Result};
use crate::memory::Region;
use crate::names::{Party, StepKey, Tensor};

/// Where one segment (rows of one head) lies. Its number on the wire is its place in the list.
#[derive(Clone, Debug)]
pub struct SegmentPlace {
    pub region: Region,
    pub offset_bytes: usize,
    pub rows: usize,
    pub row_bytes: usize,
    pub row_stride_bytes: usize,
    /// Receives only: segments whose completion is reported as one event.
    pub granule: u32,
}

impl SegmentPlace {
    /// Payload bytes, without the gaps between rows.
    pub fn bytes(&self) -> usize {
        self.rows.saturating_mul(self.row_bytes)
    }

    /// Whether the payload is one range of memory.
    pub fn is_contiguous(&self) -> bool {
        self.rows <= 1 || self.row_stride_bytes == self.row_bytes
    }

    /// Calls `f` with (offset in the region, length) of the contiguous runs that hold bytes `[from, from + bytes)` of the segment.
    pub(crate) fn for_each_run(&self, from: usize, bytes: usize, mut f: impl FnMut(usize, usize)) {
        if self.is_contiguous() {
            f(self.offset_bytes + from, bytes);
            return;
        }
        let end = from + bytes;
        let mut at = from;
        while at < end {
            let (row, column) = (at / self.row_bytes, at % self.row_bytes);
            let length = (self.row_bytes - column).min(end - at);
            f(self.offset_bytes + row * self.row_stride_bytes + column, length);
            at += length;
        }
    }

    /// Refuses places that leave their region or whose rows overlap each other.
    pub(crate) fn check(&self, field: &str) -> Result<()> {
        let refuse = |what: String| Err(Error::new(Code::PlanInvalid, format!("{field}: {what}")));
        let (rows, row_bytes, stride) = (self.rows, self.row_bytes, self.row_stride_bytes);
        if rows == 0 || row_bytes == 0 {
            return Ok(());
        }
        if rows > 1 && stride < row_bytes {
            return refuse(format!("rowStrideBytes {stride}, expected at least rowBytes {row_bytes}"));
        }
        let last_row = (rows - 1).checked_mul(stride).and_then(|at| at.checked_add(self.offset_bytes));
        if !last_row.is_some_and(|at| self.region.contains(at, row_bytes)) {
            return refuse(format!(
                "{rows} rows of {row_bytes} bytes, stride {stride}, at offset {}, expected to end within the region's {} bytes",
                self.offset_bytes,
                self.region.len()
            ));
        }
        Ok(())
    }
}

/// All that one source sends of one tensor.
#[derive(Clone, Debug)]
pub struct Receive {
    pub source: Party,
    pub tensor: Tensor,
    pub segments: Vec<SegmentPlace>,
}

/// Through which link a party is reached in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: Party,
    pub link: String,
}

/// Registers one step's reserved memory and routes. Payload for a step that is not registered is refused.
#[derive(Clone, Debug)]
pub struct StepRegistration {
    pub key: StepKey,
    pub epoch: u64,
    /// Which party of the step this process is.
    pub party: Party,
    pub receives: Vec<Receive>,
    pub routes: Vec<Route>,
    /// Bytes to be forwarded for other parties, and so the most that are held at a time; 0 for none. `Event::Relayed` fires
    /// when all of them are acknowledged.
    pub relay_bytes: usize,
    /// Total that will be sent, over all destinations; `Event::Sent` fires when all of it is acknowledged.
    pub send_bytes: u64,
}
