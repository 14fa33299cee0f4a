//! A step like those of attention: owners send the rows of every head, ranks get whole heads and return them changed.
//!
//! Owner m holds `rows[m]` rows as [row][head][ROW_BYTES]; rank k gets the heads with `head % P == k`, as
//! [head][row of all owners][ROW_BYTES]. Segment n of (m, k) is owner m's rows of the n-th head of rank k; its granule is n.
//! Owner m's relay is rank `m % P`.

use ulysses_dataplane::{Event, Party, Receive, Region, Role, Route, SegmentPlace, StepRegistration, Tensor};

use super::{Process, bytes_of, fill, key, link, owner, rank};

pub struct Shape {
    pub ranks: usize,
    pub heads: usize,
    /// Of each owner.
    pub rows: Vec<usize>,
    pub row_bytes: usize,
}

impl Shape {
    fn heads_of(&self, rank: usize) -> Vec<usize> {
        (0..self.heads).filter(|head| head % self.ranks == rank).collect()
    }

    fn all_rows(&self) -> usize {
        self.rows.iter().sum()
    }

    pub fn owner_bytes(&self, owner: usize) -> usize {
        self.rows[owner] * self.heads * self.row_bytes
    }

    fn rank_bytes(&self, rank: usize) -> usize {
        self.heads_of(rank).len() * self.all_rows() * self.row_bytes
    }

    /// Owner `owner`'s segments for `rank`, in the owner's memory.
    fn at_owner(&self, region: &Region, owner: usize, rank: usize) -> Vec<SegmentPlace> {
        let place = |(number, head): (usize, usize)| SegmentPlace {
            region: region.clone(),
            offset_bytes: head * self.row_bytes,
            rows: self.rows[owner],
            row_bytes: self.row_bytes,
            row_stride_bytes: self.heads * self.row_bytes,
            granule: number as u32,
            granule_ends: vec![],
        };
        self.heads_of(rank).into_iter().enumerate().map(place).collect()
    }

    /// The same segments in the rank's memory.
    fn at_rank(&self, region: &Region, owner: usize, rank: usize) -> Vec<SegmentPlace> {
        let before: usize = self.rows[..owner].iter().sum();
        let place = |number: usize| SegmentPlace {
            region: region.clone(),
            offset_bytes: (number * self.all_rows() + before) * self.row_bytes,
            rows: self.rows[owner],
            row_bytes: self.row_bytes,
            row_stride_bytes: self.row_bytes,
            granule: number as u32,
            granule_ends: vec![],
        };
        (0..self.heads_of(rank).len()).map(place).collect()
    }

    fn register_owner(&self, call: u64, index: usize, out: &Region) -> StepRegistration {
        let receive =
            |k: usize| Receive { source: rank(k as u32), tensor: Tensor::Out, segments: self.at_owner(out, index, k) };
        let relay = rank((index % self.ranks) as u32);
        let route = |k: usize| Route { destination: rank(k as u32), link: link(relay) };
        StepRegistration {
            key: key(call),
            epoch: 1,
            party: owner(index as u32),
            receives: (0..self.ranks).map(receive).collect(),
            routes: (0..self.ranks).map(route).collect(),
            relay_bytes: 0,
            send_bytes: self.owner_bytes(index) as u64,
        }
    }

    fn register_rank(&self, call: u64, index: usize, region: &Region) -> StepRegistration {
        let receive =
            |m: usize| Receive { source: owner(m as u32), tensor: Tensor::Q, segments: self.at_rank(region, m, index) };
        let to_rank = |k: usize| Route { destination: rank(k as u32), link: link(rank(k as u32)) };
        let to_owner = |m: usize| {
            let relay = m % self.ranks;
            let link = if relay == index { pull_link(owner(m as u32)) } else { link(rank(relay as u32)) };
            Route { destination: owner(m as u32), link }
        };
        let owners = self.rows.len();
        StepRegistration {
            key: key(call),
            epoch: 1,
            party: rank(index as u32),
            receives: (0..owners).map(receive).collect(),
            routes: (0..self.ranks).filter(|&k| k != index).map(to_rank).chain((0..owners).map(to_owner)).collect(),
            relay_bytes: 2 * self.all_rows() * self.heads * self.row_bytes,
            send_bytes: self.rank_bytes(index) as u64,
        }
    }
}

/// How a rank names the links that owners dial.
pub fn pull_link(owner: Party) -> String {
    assert_eq!(owner.role, Role::Owner);
    format!("owner/{}/job/session", owner.index)
}

/// Runs one step to its end and checks every byte at ranks and owners. `order` permutes the sends of `n` segments.
pub fn run(
    shape: &Shape,
    (ranks, owners): (&[Process], &[Process]),
    call: u64,
    mut order: impl FnMut(usize) -> Vec<usize>,
) {
    let inputs: Vec<Region> = owners.iter().enumerate().map(|(m, owner)| owner.filled(shape.owner_bytes(m))).collect();
    let outs: Vec<Region> =
        owners.iter().enumerate().map(|(m, owner)| owner.pool.allocate(shape.owner_bytes(m)).unwrap()).collect();
    let gathered: Vec<Region> = ranks.iter().enumerate().map(|(k, rank)| rank.allocate(shape.rank_bytes(k))).collect();
    for (k, rank) in ranks.iter().enumerate() {
        rank.plane.register_step(shape.register_rank(call, k, &gathered[k])).unwrap();
    }
    for (m, owner) in owners.iter().enumerate() {
        owner.plane.register_step(shape.register_owner(call, m, &outs[m])).unwrap();
        for k in 0..shape.ranks {
            let segments = shape.at_owner(&inputs[m], m, k);
            send(owner, call, rank(k as u32), Tensor::Q, &segments, order(segments.len()));
        }
    }
    for (k, process) in ranks.iter().enumerate() {
        let mut granules = Vec::new();
        process.wait("received", |event| {
            if let Event::Granule { granule, .. } = event {
                granules.push(*granule);
            }
            matches!(event, Event::Received { .. }).then_some(())
        });
        granules.sort_unstable();
        let heads = shape.heads_of(k).len() as u32;
        assert_eq!(granules, (0..heads).collect::<Vec<_>>(), "rank {k}");
        check_gathered(shape, k, &inputs, &gathered[k]);
        fill(&gathered[k], &plus_one(&gathered[k]));
        for m in 0..owners.len() {
            let segments = shape.at_rank(&gathered[k], m, k);
            send(process, call, owner(m as u32), Tensor::Out, &segments, order(segments.len()));
        }
    }
    for (m, owner) in owners.iter().enumerate() {
        let mut waits = vec![Event::Received { key: key(call) }, Event::Sent { key: key(call) }];
        owner.wait("received and sent", |event| {
            waits.retain(|wait| wait != event);
            waits.is_empty().then_some(())
        });
        assert!(bytes_of(&outs[m]) == plus_one(&inputs[m]), "owner {m}: out is not in + 1");
        owner.plane.close_step(&key(call));
    }
    // Not before all have heard: acks for one rank pass through others.
    ranks.iter().for_each(|rank| rank.wait_for(Event::Sent { key: key(call) }));
    ranks.iter().for_each(|rank| rank.plane.close_step(&key(call)));
}

fn send(from: &Process, call: u64, to: Party, tensor: Tensor, segments: &[SegmentPlace], order: Vec<usize>) {
    for number in order {
        let segment = vec![segments[number].clone()];
        from.plane.send(&key(call), to, tensor, number as u32, segment).unwrap();
    }
}

fn plus_one(region: &Region) -> Vec<u8> {
    bytes_of(region).iter().map(|byte| byte.wrapping_add(1)).collect()
}

fn check_gathered(shape: &Shape, rank: usize, inputs: &[Region], gathered: &Region) {
    let d = shape.row_bytes;
    let mut expected = Vec::new();
    for head in shape.heads_of(rank) {
        for (m, input) in inputs.iter().enumerate() {
            let input = bytes_of(input);
            for row in 0..shape.rows[m] {
                let at = (row * shape.heads + head) * d;
                expected.extend_from_slice(&input[at..at + d]);
            }
        }
    }
    assert!(bytes_of(gathered) == expected, "rank {rank}: gathered rows differ");
}

/// Planes of a shape, for as long as a test needs them.
pub fn cluster(shape: &Shape) -> (Vec<Process>, Vec<Process>) {
    super::connected(shape.ranks as u32, shape.rows.len() as u32)
}
