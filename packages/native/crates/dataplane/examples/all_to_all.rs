//! Every plane sends a slice to every other one, over loopback: GB/s and CPU seconds per GB of payload.
//!
//! `cargo run --release -p ulysses-dataplane --example all_to_all -- [planes] [MiB per plane] [steps] [row bytes]`
//! With row bytes, senders hold rows of 8 heads and send one head's, so that rows are packed; without, slices are contiguous.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ulysses_dataplane::{
    Event, Party, Pass, Plane, PlaneOptions, Receive, RecyclingAllocator, Region, RegionPool, Role, Route,
    SegmentPlace, StepKey, StepRegistration, Tensor,
};

#[global_allocator]
static ALLOCATOR: RecyclingAllocator = RecyclingAllocator::empty();

const DEADLINE: Duration = Duration::from_secs(60);
const HEADS: usize = 8;

struct Peer {
    plane: Plane,
    events: Receiver<Event>,
    sent: Region,
    received: Region,
}

struct Shape {
    planes: usize,
    /// Of one slice.
    bytes: usize,
    row_bytes: Option<usize>,
}

fn rank(index: usize) -> Party {
    Party { role: Role::Rank, index: index as u32 }
}

fn step_key(call: u64) -> StepKey {
    StepKey { job: "bench".into(), session: "bench".into(), call, pass: Pass::Forward, attempt: 0 }
}

impl Shape {
    fn peers(&self, of: usize) -> impl Iterator<Item = usize> {
        (0..self.planes).filter(move |&peer| peer != of)
    }

    fn contiguous(&self, region: &Region, peer: usize) -> SegmentPlace {
        let bytes = self.bytes;
        SegmentPlace {
            region: region.clone(),
            offset_bytes: peer * bytes,
            rows: 1,
            row_bytes: bytes,
            row_stride_bytes: bytes,
            granule: 0,
            granule_ends: vec![],
        }
    }

    fn outgoing(&self, region: &Region, peer: usize) -> SegmentPlace {
        let Some(row_bytes) = self.row_bytes else { return self.contiguous(region, peer) };
        SegmentPlace {
            offset_bytes: peer % HEADS * row_bytes,
            rows: self.bytes / row_bytes,
            row_bytes,
            row_stride_bytes: HEADS * row_bytes,
            ..self.contiguous(region, peer)
        }
    }

    fn registration(&self, call: u64, of: usize, received: &Region) -> StepRegistration {
        let receive =
            |peer| Receive { source: rank(peer), tensor: Tensor::Q, segments: vec![self.contiguous(received, peer)] };
        StepRegistration {
            key: step_key(call),
            epoch: 1,
            party: rank(of),
            receives: self.peers(of).map(receive).collect(),
            routes: self.peers(of).map(|peer| Route { destination: rank(peer), link: link(peer) }).collect(),
            relay_bytes: 0,
            send_bytes: (self.bytes * (self.planes - 1)) as u64,
        }
    }

    fn step(&self, call: u64, peers: &[Peer]) {
        for (at, peer) in peers.iter().enumerate() {
            peer.plane.register_step(self.registration(call, at, &peer.received)).unwrap();
        }
        for (at, peer) in peers.iter().enumerate() {
            for to in self.peers(at) {
                let place = self.outgoing(&peer.sent, to);
                peer.plane.send(&step_key(call), rank(to), Tensor::Q, 0, vec![place]).unwrap();
            }
        }
        for peer in peers {
            let mut left = 2;
            while left > 0 {
                match peer.events.recv_timeout(DEADLINE).expect("the step ends") {
                    Event::Received { .. } | Event::Sent { .. } => left -= 1,
                    Event::Granule { .. } | Event::Relayed { .. } => (),
                    event => panic!("{event:?}"),
                }
            }
        }
        peers.iter().for_each(|peer| peer.plane.close_step(&step_key(call)));
    }
}

fn link(peer: usize) -> String {
    format!("to {peer}")
}

fn open(index: usize, shape: &Shape) -> Peer {
    let options = PlaneOptions { listen: Some("127.0.0.1:0".into()), ..PlaneOptions::new(format!("rank {index}")) };
    let (sender, events) = channel();
    let pool = RegionPool::new(1 << 30);
    let plane = Plane::open(options, pool.clone(), Box::new(move |event| drop(sender.send(event)))).unwrap();
    let held = if shape.row_bytes.is_some() { HEADS } else { shape.planes };
    let sent = pool.allocate(held * shape.bytes).unwrap();
    // SAFETY: nothing is sent yet. Every page is written, because pages that were never touched all share one.
    unsafe { sent.write(0, &vec![index as u8 + 1; sent.len()]) };
    let received = pool.allocate(shape.planes * shape.bytes).unwrap();
    Peer { plane, events, sent, received }
}

fn connect(peers: &[Peer], from: usize, to: usize) {
    let (told, done) = channel();
    let address = peers[to].plane.local_addr().unwrap().to_string();
    let done_by = Box::new(move |result| drop(told.send(result)));
    peers[from].plane.connect_rank(&link(to), &address, &format!("rank/{from}/bench"), DEADLINE, done_by);
    done.recv().unwrap().unwrap();
}

/// User and system time of this process in seconds, and its page faults.
fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    // In ticks of 10 ms.
    let number = |field: usize| fields[field].parse::<f64>().expect("a number");
    ((number(11) + number(12)) / 100.0, number(7))
}

fn main() {
    let arguments: Vec<usize> = std::env::args().skip(1).map(|argument| argument.parse().expect("a number")).collect();
    let argument = |at: usize, default: usize| arguments.get(at).copied().unwrap_or(default);
    let planes = argument(0, 4);
    let slice_bytes = (argument(1, 64) << 20) / planes;
    let row_bytes = arguments.get(3).copied();
    let shape = Shape { planes, bytes: slice_bytes - slice_bytes % row_bytes.unwrap_or(1), row_bytes };
    let steps = argument(2, 10) as u64;
    let peers: Vec<Peer> = (0..planes).map(|index| open(index, &shape)).collect();
    for from in 0..planes {
        shape.peers(from).for_each(|to| connect(&peers, from, to));
    }
    shape.step(0, &peers);
    let moved = (planes * (planes - 1) * shape.bytes) as f64 / 1e9;
    let (began, (cpu_before, faults_before)) = (Instant::now(), usage());
    let mut fastest = f64::INFINITY;
    for call in 1..=steps {
        let began = Instant::now();
        shape.step(call, &peers);
        fastest = fastest.min(began.elapsed().as_secs_f64());
    }
    let (wall, (cpu, faults)) = (began.elapsed().as_secs_f64(), usage());
    let total = moved * steps as f64;
    println!(
        "{planes} planes, {moved:.3} GB per step: {:.2} GB/s mean, {:.2} best, {:.2} CPU-s/GB, {:.0} page faults/GB",
        total / wall,
        moved / fastest,
        (cpu - cpu_before) / total,
        (faults - faults_before) / total
    );
}
