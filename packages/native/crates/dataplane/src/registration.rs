//! What a process tells its plane about one step: memory reserved for arrivals, routes, totals.

use std::ops::Range;

use crate::copying;
use crate::error::{Code, Error, Result};
use crate::memory::Region;
use crate::names::{Party, StepKey, Tensor};
use crate::peer_memory::Payload;

/// How far ahead short rows are loaded: beyond a page of 4 KiB processors foresee nothing by themselves.
const AHEAD_BYTES: usize = 4 << 10;
/// Rows that are not next to each other are placed past the caches if their segment has this size or more, as a copy of so many
/// bytes would be: the first would have left them before the last have come.
const STREAMED_BYTES: usize = 4 << 20;

/// Where one segment (rows of one head) lies. Its number on the wire is its place in the list.
#[derive(Clone, Debug)]
pub struct SegmentPlace {
    pub region: Region,
    pub offset_bytes: usize,
    pub rows: usize,
    pub row_bytes: usize,
    pub row_stride_bytes: usize,
    /// Receives only: rows whose completion is reported as one event, of this segment and all others that name it.
    pub granule: u32,
    /// Receives only: rows, ascending, at which the next granule begins. Empty: all rows are of one.
    pub granule_ends: Vec<usize>,
}

impl SegmentPlace {
    /// Payload bytes, without the gaps between rows.
    pub fn bytes(&self) -> usize {
        self.rows.saturating_mul(self.row_bytes)
    }

    /// Granules of a receive in the order of their rows, each with the payload bytes at its end.
    pub(crate) fn granules(&self) -> impl Iterator<Item = (u32, usize)> {
        let ends = self.granule_ends.iter().chain(std::iter::once(&self.rows));
        (self.granule..).zip(ends.map(|rows| rows.saturating_mul(self.row_bytes)))
    }

    /// Whether the payload is one range of memory.
    pub fn is_contiguous(&self) -> bool {
        self.rows <= 1 || self.row_stride_bytes == self.row_bytes
    }

    /// Calls `f` with (offset in the region, length) of the contiguous runs that hold bytes `[from, from + bytes)` of the segment.
    pub(crate) fn for_each_run(&self, from: usize, bytes: usize, f: impl FnMut(usize, usize)) {
        self.runs(from, bytes, true, f);
    }

    /// The same; `loads`: short rows are loaded before their turn.
    fn runs(&self, from: usize, bytes: usize, loads: bool, mut f: impl FnMut(usize, usize)) {
        if self.is_contiguous() {
            f(self.offset_bytes + from, bytes);
            return;
        }
        let (mut row, mut column, mut left) = (from / self.row_bytes, from % self.row_bytes, bytes);
        while left > 0 {
            let length = (self.row_bytes - column).min(left);
            let offset = self.offset_bytes + row * self.row_stride_bytes + column;
            if loads && left > AHEAD_BYTES && length <= AHEAD_BYTES / 4 {
                let rows = AHEAD_BYTES / self.row_bytes;
                copying::prefetch(self.region.as_ptr().wrapping_add(offset + rows * self.row_stride_bytes), length);
            }
            f(offset, length);
            (row, column, left) = (row + 1, 0, left - length);
        }
    }

    /// Copies bytes `[from, from + bytes)` of the segment to the start of `to`.
    ///
    /// # Safety
    /// Nobody writes the rows while this runs, and the caller is the only one who uses `to`, which is other memory (M2).
    ///
    /// # Panics
    /// If the bytes are not inside both regions.
    pub unsafe fn gather(&self, from: usize, bytes: usize, to: &Region) {
        let mut at = 0;
        self.for_each_run(from, bytes, |offset, length| {
            // SAFETY: the caller's promise.
            unsafe { to.write(at, self.region.slice(offset, length)) }
            at += length;
        });
    }

    /// Copies a payload to the bytes of the segment from `from` on.
    ///
    /// # Safety
    /// The caller is the only one who uses those bytes (M2), and the payload is other memory.
    ///
    /// # Panics
    /// If they are not inside the region.
    pub unsafe fn scatter(&self, from: usize, payload: &[u8]) {
        // SAFETY: the caller's promise.
        unsafe { self.scatter_payload(from, Payload::from(payload)) }
    }

    /// # Safety
    /// As for `scatter`.
    pub(crate) unsafe fn scatter_payload(&self, from: usize, payload: Payload<'_>) {
        let mut at = 0;
        let streams = !self.is_contiguous() && self.bytes() >= STREAMED_BYTES;
        self.runs(from, payload.len(), !streams, |offset, length| {
            // SAFETY: the caller's promise. The runs are as long as the payload.
            unsafe { payload.copy_to(at, &self.region, offset, length, streams) }
            at += length;
        });
        if streams {
            copying::finish_streaming();
        }
    }

    /// How many bytes from `from` on, which is inside, go into a chunk of at most `limit`: whole rows, unless they are one range
    /// of memory or longer than that.
    pub(crate) fn cut(&self, from: usize, limit: usize) -> usize {
        let left = self.bytes() - from;
        if self.is_contiguous() {
            return left.min(limit);
        }
        match (from % self.row_bytes, limit - limit % self.row_bytes) {
            (0, 0) => left.min(limit),
            (0, rows) => left.min(rows),
            (column, _) => left.min(limit).min(self.row_bytes - column),
        }
    }

    /// Refuses places that leave their region or whose rows overlap each other.
    pub(crate) fn check(&self, field: impl Fn() -> String) -> Result<()> {
        let refuse = |what: String| Err(Error::new(Code::PlanInvalid, format!("{}: {what}", field())));
        let (rows, row_bytes, stride) = (self.rows, self.row_bytes, self.row_stride_bytes);
        if !self.granule_ends.is_sorted() || self.granule_ends.last().is_some_and(|&end| end > rows) {
            return refuse(format!("granuleEnds {:?}, expected ascending rows up to {rows}", self.granule_ends));
        }
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

/// Some rows of one segment on their way: `segment` is its number, `place` the whole of it.
#[derive(Clone, Debug)]
pub struct RowsToSend {
    pub destination: Party,
    pub tensor: Tensor,
    pub segment: u32,
    pub place: SegmentPlace,
    pub rows: Range<usize>,
}

impl RowsToSend {
    /// The bytes of the segment that they are. Fails with PLAN_INVALID.
    pub(crate) fn checked_bytes(&self) -> Result<Range<u64>> {
        let RowsToSend { destination, tensor, segment, place, rows } = self;
        let name = || format!("segments: number {segment} of {tensor} for {destination}");
        place.check(name)?;
        if rows.start > rows.end || rows.end > place.rows {
            let message = format!("{}: rows {rows:?}, expected some of its {}", name(), place.rows);
            return Err(Error::new(Code::PlanInvalid, message));
        }
        Ok((rows.start * place.row_bytes) as u64..(rows.end * place.row_bytes) as u64)
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
