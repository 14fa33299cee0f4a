//! The receiving half of a step: which bytes are expected, and where the next of each segment goes.

use std::collections::HashMap;

use crate::error::{Code, Error, Result};
use crate::names::{Party, Tensor};
use crate::peer_memory::Payload;
use crate::registration::{Receive, SegmentPlace};
use crate::wire::SliceHeader;

/// Where an admitted slice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    receive: usize,
    segment: usize,
}

/// What was completed by the bytes just placed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Completed {
    pub(crate) granules: Vec<u32>,
    /// All of this source, so many bytes.
    pub(crate) source: Option<(Party, u64)>,
    pub(crate) everything: bool,
}

#[derive(Default)]
pub(crate) struct Placing {
    receives: Vec<Expected>,
    by_name: HashMap<(Party, Tensor), usize>,
    /// Parts of segments that are not complete.
    granules: HashMap<u32, usize>,
    sources: HashMap<Party, Source>,
    /// Bytes that are not placed.
    left: u64,
}

struct Expected {
    source: Party,
    segments: Vec<Segment>,
}

struct Segment {
    place: SegmentPlace,
    placed: usize,
}

#[derive(Default)]
struct Source {
    expected: u64,
    placed: u64,
}

impl Placing {
    /// Checks every place. Fails with PLAN_INVALID.
    pub(crate) fn new(receives: Vec<Receive>) -> Result<Placing> {
        let mut placing = Placing::default();
        for Receive { source, tensor, segments } in receives {
            if placing.by_name.insert((source, tensor), placing.receives.len()).is_some() {
                return Err(Error::new(Code::PlanInvalid, format!("receives: {tensor} of {source} is listed twice")));
            }
            for (number, place) in segments.iter().enumerate() {
                place.check(|| format!("receives: segment {number} of {tensor} of {source}"))?;
                placing.expect(source, place);
            }
            let segments = segments.into_iter().map(|place| Segment { place, placed: 0 }).collect();
            placing.receives.push(Expected { source, segments });
        }
        Ok(placing)
    }

    fn expect(&mut self, source: Party, place: &SegmentPlace) {
        let bytes = place.bytes() as u64;
        let mut begin = 0;
        for (granule, end) in place.granules() {
            *self.granules.entry(granule).or_default() += usize::from(end > begin);
            begin = end;
        }
        self.sources.entry(source).or_default().expected += bytes;
        self.left += bytes;
    }

    /// Granules that wait for no byte, in order.
    pub(crate) fn complete_granules(&self) -> Vec<u32> {
        let mut complete: Vec<u32> =
            self.granules.iter().filter(|&(_, &left)| left == 0).map(|(&granule, _)| granule).collect();
        complete.sort_unstable();
        complete
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Where a slice goes, if it is exactly what comes next in its segment. `payload_bytes` is its length.
    pub(crate) fn admit(&self, header: &SliceHeader, payload_bytes: usize) -> Result<Slot> {
        let SliceHeader { source, tensor, segment, offset_bytes: offset, .. } = *header;
        let refuse =
            |code, what: String| Err(Error::new(code, format!("segment {segment} of {tensor} from {source}: {what}")));
        let Some(&receive) = self.by_name.get(&(source, tensor)) else {
            return refuse(Code::PlanInvalid, "nothing of that tensor is expected from there".into());
        };
        let segments = &self.receives[receive].segments;
        let Some(expected) = segments.get(segment as usize) else {
            return refuse(Code::PlanInvalid, format!("expected a segment below {}", segments.len()));
        };
        let total = expected.place.bytes() as u64;
        if header.segment_bytes != total {
            return refuse(Code::ShapeMismatch, format!("segment_bytes {}, expected {total}", header.segment_bytes));
        }
        if offset.checked_add(payload_bytes as u64).is_none_or(|end| end > total) {
            return refuse(
                Code::ShapeMismatch,
                format!("{payload_bytes} bytes at offset_bytes {offset}, expected at most {total} in all"),
            );
        }
        if offset != expected.placed as u64 {
            return refuse(Code::PlanInvalid, format!("offset_bytes {offset}, expected {}", expected.placed));
        }
        Ok(Slot { receive, segment: segment as usize })
    }

    /// Copies a payload that begins at `at` of an admitted slice's segment. Refuses bytes that were placed in the meantime.
    pub(crate) fn place(&mut self, slot: Slot, at: u64, payload: Payload<'_>) -> Result<Completed> {
        let Expected { source, segments } = &mut self.receives[slot.receive];
        let Segment { place, placed } = &mut segments[slot.segment];
        let bytes = payload.len();
        if at != *placed as u64 || bytes > place.bytes() - *placed {
            return Err(Error::new(
                Code::PlanInvalid,
                format!("segment {} from {source}: bytes at {at}, expected {placed}", slot.segment),
            ));
        }
        // SAFETY: registered for this segment and checked then; under the step's lock, each byte once, and nobody reads it
        // before the event that follows (M2).
        unsafe { place.scatter_payload(*placed, payload) }
        let mut completed = Completed::default();
        let (before, after) = (*placed, *placed + bytes);
        let mut begin = 0;
        for (granule, end) in place.granules() {
            if end > begin && (before + 1..=after).contains(&end) {
                let unfinished = self.granules.get_mut(&granule).expect("counted at registration");
                *unfinished -= 1;
                completed.granules.extend((*unfinished == 0).then_some(granule));
            }
            begin = end;
        }
        *placed = after;
        let source = *source;
        self.book(source, bytes as u64, &mut completed);
        Ok(completed)
    }

    fn book(&mut self, source: Party, bytes: u64, completed: &mut Completed) {
        let sums = self.sources.get_mut(&source).expect("counted at registration");
        sums.placed += bytes;
        self.left -= bytes;
        if bytes > 0 {
            completed.source = (sums.placed == sums.expected).then_some((source, sums.expected));
            completed.everything = self.left == 0;
        }
    }
}

#[cfg(test)]
#[path = "placing_test.rs"]
mod tests;
