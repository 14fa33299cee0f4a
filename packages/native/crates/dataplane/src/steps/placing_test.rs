use super::*;
use crate::memory::{Region, RegionPool};
use crate::names::{Pass, Role, StepKey};

const OWNER: Party = Party { role: Role::Owner, index: 1 };
const OTHER: Party = Party { role: Role::Owner, index: 2 };

/// Rows of 4 bytes, 6 apart.
fn place(region: &Region, offset_bytes: usize, rows: usize, granule: u32) -> SegmentPlace {
    SegmentPlace {
        region: region.clone(),
        offset_bytes,
        rows,
        row_bytes: 4,
        row_stride_bytes: 6,
        granule,
        granule_ends: vec![],
    }
}

fn header(source: Party, tensor: Tensor, segment: u32, offset_bytes: u64, segment_bytes: u64) -> SliceHeader {
    let step = StepKey { job: "j".into(), session: "s".into(), call: 1, pass: Pass::Forward, attempt: 0 };
    let destination = Party { role: Role::Rank, index: 0 };
    SliceHeader { epoch: 1, step, source, destination, tensor, segment, offset_bytes, segment_bytes, shared: None }
}

fn bytes_of(region: &Region) -> Vec<u8> {
    // SAFETY: nothing is being placed.
    unsafe { region.slice(0, region.len()) }.to_vec()
}

fn receive(source: Party, tensor: Tensor, segments: Vec<SegmentPlace>) -> Receive {
    Receive { source, tensor, segments }
}

#[test]
fn bytes_land_in_their_rows_wherever_they_are_split() {
    for split in 1..12 {
        let region = RegionPool::new(0).allocate(24).unwrap();
        let mut placing = Placing::new(vec![receive(OWNER, Tensor::Q, vec![place(&region, 2, 3, 9)])]).unwrap();
        let slot = placing.admit(&header(OWNER, Tensor::Q, 0, 0, 12), 12).unwrap();
        let bytes: Vec<u8> = (1..=12).collect();
        assert_eq!(placing.place(slot, 0, bytes[..split].into()).unwrap(), Completed::default());
        let done = Completed { granules: vec![9], source: Some((OWNER, 12)), everything: true };
        assert_eq!(placing.place(slot, split as u64, bytes[split..].into()).unwrap(), done);
        let expected = [0, 0, 1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 0, 0, 9, 10, 11, 12, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes_of(&region), expected, "split at {split}");
    }
}

#[test]
fn granules_sources_and_the_whole_complete_with_their_last_byte() {
    let region = RegionPool::new(0).allocate(64).unwrap();
    let mut placing = Placing::new(vec![
        receive(OWNER, Tensor::Q, vec![place(&region, 0, 1, 1), place(&region, 4, 0, 2), place(&region, 4, 1, 1)]),
        receive(OTHER, Tensor::Q, vec![place(&region, 8, 1, 1)]),
        receive(OTHER, Tensor::K, vec![place(&region, 12, 1, 3)]),
    ])
    .unwrap();
    assert_eq!(placing.complete_granules(), [2], "its only segment is empty");
    let mut put = |source, tensor, segment| {
        let slot = placing.admit(&header(source, tensor, segment, 0, 4), 4).unwrap();
        placing.place(slot, 0, [7; 4][..].into()).unwrap()
    };
    assert_eq!(put(OWNER, Tensor::Q, 2), Completed::default());
    let completed = put(OWNER, Tensor::Q, 0);
    assert_eq!(completed, Completed { granules: vec![], source: Some((OWNER, 8)), everything: false });
    assert_eq!(put(OTHER, Tensor::Q, 0), Completed { granules: vec![1], ..Completed::default() });
    let completed = put(OTHER, Tensor::K, 0);
    assert_eq!(completed, Completed { granules: vec![3], source: Some((OTHER, 8)), everything: true });
    assert!(placing.is_complete());
}

#[test]
fn a_segment_of_several_granules_completes_each_with_the_last_byte_of_its_rows() {
    let region = RegionPool::new(0).allocate(64).unwrap();
    let cut = SegmentPlace { granule_ends: vec![1, 1, 3], ..place(&region, 0, 4, 5) };
    let receives =
        vec![receive(OWNER, Tensor::K, vec![cut.clone()]), receive(OWNER, Tensor::V, vec![place(&region, 30, 1, 7)])];
    let mut placing = Placing::new(receives).unwrap();
    assert_eq!(placing.complete_granules(), [6], "it has no rows");
    let slot = placing.admit(&header(OWNER, Tensor::K, 0, 0, 16), 16).unwrap();
    let mut put = |at: u64, bytes: usize| placing.place(slot, at, vec![1; bytes][..].into()).unwrap().granules;
    assert_eq!(put(0, 3), []);
    assert_eq!(put(3, 2), [5]);
    assert_eq!(put(5, 6), [], "7 has no more than two of its three rows");
    assert_eq!(put(11, 5), [8], "and 7 waits for its row of v");
    let slot = placing.admit(&header(OWNER, Tensor::V, 0, 0, 4), 4).unwrap();
    let completed = placing.place(slot, 0, [1; 4][..].into()).unwrap();
    assert_eq!(completed, Completed { granules: vec![7], source: Some((OWNER, 20)), everything: true });
}

#[test]
fn slices_that_do_not_fit_the_plan_are_refused_and_touch_nothing() {
    let region = RegionPool::new(0).allocate(64).unwrap();
    let receives = vec![receive(OWNER, Tensor::Q, vec![place(&region, 0, 2, 0)])];
    let mut placing = Placing::new(receives).unwrap();
    let cases = [
        (header(OTHER, Tensor::Q, 0, 0, 8), 8, Code::PlanInvalid, "nothing of that tensor"),
        (header(OWNER, Tensor::K, 0, 0, 8), 8, Code::PlanInvalid, "nothing of that tensor"),
        (header(OWNER, Tensor::Q, 1, 0, 8), 8, Code::PlanInvalid, "expected a segment below 1"),
        (header(OWNER, Tensor::Q, 0, 0, 9), 8, Code::ShapeMismatch, "segment_bytes 9, expected 8"),
        (header(OWNER, Tensor::Q, 0, 0, 8), 9, Code::ShapeMismatch, "9 bytes at offset_bytes 0"),
        (header(OWNER, Tensor::Q, 0, u64::MAX, 8), 8, Code::ShapeMismatch, "at most 8 in all"),
        (header(OWNER, Tensor::Q, 0, 4, 8), 4, Code::PlanInvalid, "offset_bytes 4, expected 0"),
    ];
    for (header, bytes, code, message) in cases {
        let error = placing.admit(&header, bytes).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(message), "{error}");
    }
    let slot = placing.admit(&header(OWNER, Tensor::Q, 0, 0, 8), 8).unwrap();
    let twin = placing.admit(&header(OWNER, Tensor::Q, 0, 0, 8), 8).unwrap();
    placing.place(slot, 0, [1; 4][..].into()).unwrap();
    assert!(placing.place(twin, 0, [2; 4][..].into()).is_err(), "the same bytes on another call");
    assert!(placing.place(slot, 4, [2; 5][..].into()).is_err(), "more bytes than reserved");
    assert_eq!(bytes_of(&region)[..10], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn places_outside_their_region_are_refused_at_registration() {
    let region = RegionPool::new(0).allocate(64).unwrap();
    let base = place(&region, 0, 2, 0);
    let cases = [
        SegmentPlace { offset_bytes: 61, rows: 1, ..base.clone() },
        SegmentPlace { rows: 12, ..base.clone() },
        SegmentPlace { rows: usize::MAX, ..base.clone() },
        SegmentPlace { row_stride_bytes: usize::MAX, ..base.clone() },
        SegmentPlace { row_stride_bytes: 3, ..base.clone() },
        SegmentPlace { offset_bytes: usize::MAX, rows: 1, ..base.clone() },
        SegmentPlace { granule_ends: vec![3], ..base.clone() },
        SegmentPlace { granule_ends: vec![2, 1], ..base.clone() },
    ];
    for wrong in cases {
        let message = format!("{wrong:?}");
        let error = Placing::new(vec![receive(OWNER, Tensor::Q, vec![wrong])]).map(|_| ()).unwrap_err();
        assert_eq!(error.code, Code::PlanInvalid, "{message}");
    }
    let twice = vec![receive(OWNER, Tensor::Q, vec![]), receive(OWNER, Tensor::Q, vec![])];
    assert!(Placing::new(twice).map(|_| ()).unwrap_err().message.contains("q of owner 1 is listed twice"));
}
