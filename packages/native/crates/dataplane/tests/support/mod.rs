//! Planes in one process over loopback, and a step with a small plan of its own.
#![allow(dead_code, reason = "each test file uses its share")]

pub mod certificates;
pub mod greeting;
pub mod step;
pub mod stock;

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ulysses_dataplane::{
    Error, Event, Party, Pass, Plane, PlaneOptions, Region, RegionPool, Role, SegmentPlace, StepKey, StepRegistration,
    Transport,
};

/// Far below the 20 s that a peer may be silent, so that nothing passes by it.
pub const DEADLINE: Duration = Duration::from_secs(8);

/// What pools keep for reuse.
const RETAIN_BYTES: usize = 256 << 20;

pub fn rank(index: u32) -> Party {
    Party { role: Role::Rank, index }
}

pub fn owner(index: u32) -> Party {
    Party { role: Role::Owner, index }
}

pub fn key(call: u64) -> StepKey {
    StepKey { job: "job".into(), session: "session".into(), call, pass: Pass::Forward, attempt: 0 }
}

/// A registration that expects and sends nothing yet.
pub fn registration(call: u64, party: Party) -> StepRegistration {
    StepRegistration {
        key: key(call),
        epoch: 1,
        party,
        receives: vec![],
        routes: vec![],
        relay_bytes: 0,
        send_bytes: 0,
    }
}

/// The whole region as one segment of one row.
pub fn whole(region: &Region) -> SegmentPlace {
    part(region, 0, region.len())
}

pub fn part(region: &Region, offset_bytes: usize, bytes: usize) -> SegmentPlace {
    SegmentPlace {
        region: region.clone(),
        offset_bytes,
        rows: 1,
        row_bytes: bytes,
        row_stride_bytes: bytes,
        granule: 0,
        granule_ends: vec![],
    }
}

pub fn fill(region: &Region, bytes: &[u8]) {
    // SAFETY: tests fill regions before they send them, or when nothing is placed in them.
    unsafe { region.write(0, bytes) }
}

pub fn bytes_of(region: &Region) -> Vec<u8> {
    // SAFETY: tests read regions when nothing is placed in them.
    unsafe { region.slice(0, region.len()) }.to_vec()
}

/// A plane and what it reported.
pub struct Process {
    pub plane: Plane,
    pub pool: RegionPool,
    pub party: Party,
    /// Whether it allocates rows where peers of this host read them in place, if there is such memory.
    pub in_place: bool,
    events: Receiver<Event>,
}

impl Process {
    pub fn rank(index: u32) -> Process {
        Process::open(rank(index), Process::rank_options(index))
    }

    pub fn rank_options(index: u32) -> PlaneOptions {
        PlaneOptions { listen: Some("127.0.0.1:0".into()), ..Process::owner_options(rank(index)) }
    }

    pub fn owner(index: u32) -> Process {
        Process::open(owner(index), Process::owner_options(owner(index)))
    }

    /// By TCP, which stock clients speak too; `by_unix_socket` is for the tests of the other.
    pub fn owner_options(party: Party) -> PlaneOptions {
        PlaneOptions { transport: Transport::Tcp, ..PlaneOptions::new(party.to_string()) }
    }

    /// A rank that peers of this host reach by unix socket, and that reaches them so.
    pub fn by_unix_socket(index: u32) -> Process {
        Process::open(rank(index), PlaneOptions { transport: Transport::Unix, ..Process::rank_options(index) })
    }

    pub fn owner_by_unix_socket(index: u32) -> Process {
        Process::open(owner(index), PlaneOptions { transport: Transport::Unix, ..Process::owner_options(owner(index)) })
    }

    /// A rank that shares so much memory with its peers of this host.
    pub fn sharing(index: u32, shared_bytes: usize) -> Process {
        let options = Process::rank_options(index);
        Process::open(rank(index), PlaneOptions { transport: Transport::Shared, shared_bytes, ..options })
    }

    pub fn owner_sharing(index: u32, shared_bytes: usize) -> Process {
        let options = Process::owner_options(owner(index));
        Process::open(owner(index), PlaneOptions { transport: Transport::Shared, shared_bytes, ..options })
    }

    pub fn open(party: Party, options: PlaneOptions) -> Process {
        Process::with_pool(party, options, RegionPool::new(RETAIN_BYTES))
    }

    pub fn with_pool(party: Party, options: PlaneOptions, pool: RegionPool) -> Process {
        Process::watched(party, options, pool, |_| ())
    }

    /// A rank whose plane stands still when it has completed `granule`, until it is told to go on.
    pub fn gated_rank(index: u32, granule: u32) -> (Process, Sender<()>) {
        let (go_on, gate) = channel();
        let gate = Mutex::new(gate);
        let options = Process::rank_options(index);
        let stop = move |event: &Event| {
            if matches!(event, Event::Granule { granule: complete, .. } if *complete == granule) {
                gate.lock().unwrap().recv_timeout(DEADLINE).expect("the gate is opened");
            }
        };
        (Process::watched(rank(index), options, RegionPool::new(RETAIN_BYTES), stop), go_on)
    }

    /// `watch` runs on the plane's thread, after the event was queued for the test.
    fn watched(
        party: Party,
        options: PlaneOptions,
        pool: RegionPool,
        watch: impl Fn(&Event) + Send + Sync + 'static,
    ) -> Process {
        let (sender, events) = channel();
        let sink = Box::new(move |event: Event| {
            drop(sender.send(event.clone()));
            watch(&event);
        });
        let plane = Plane::open(options, pool.clone(), sink).expect("a plane opens");
        Process { plane, pool, party, in_place: true, events }
    }

    pub fn address(&self) -> String {
        self.plane.local_addr().expect("it listens").to_string()
    }

    /// What peers call this process.
    pub fn name(&self) -> String {
        match self.party.role {
            Role::Rank => format!("rank/{}/member", self.party.index),
            Role::Owner => format!("owner/{}/job/session", self.party.index),
        }
    }

    /// Connects under the name `to rank <n>`.
    pub fn connect(&self, to: &Process) -> Result<(), Error> {
        self.connect_to(&link(to.party), &to.address(), DEADLINE)
    }

    pub fn connect_to(&self, link: &str, address: &str, deadline: Duration) -> Result<(), Error> {
        let (sender, done) = channel();
        let told = Box::new(move |result| drop(sender.send(result)));
        match self.party.role {
            Role::Rank => self.plane.connect_rank(link, address, &self.name(), deadline, told),
            Role::Owner => self.plane.connect_owner(link, address, &self.name(), deadline, told),
        }
        done.recv_timeout(deadline + DEADLINE).expect("dialling ends")
    }

    pub fn allocate(&self, bytes: usize) -> Region {
        let region = if self.in_place { self.pool.allocate_shared(bytes) } else { self.pool.allocate(bytes) };
        region.unwrap()
    }

    /// A region with bytes that tell processes and places apart.
    pub fn filled(&self, bytes: usize) -> Region {
        let region = self.allocate(bytes);
        // A period that divides no power of two.
        let pattern: Vec<u8> =
            (0..65_521).map(|at| (at * 7 + at / 253 + self.party.index as usize * 31) as u8).collect();
        fill(&region, &pattern.repeat(bytes / pattern.len() + 1)[..bytes]);
        region
    }

    /// The next event; panics at the deadline.
    pub fn next(&self) -> Event {
        self.next_within(DEADLINE).unwrap_or_else(|| panic!("{}: no event came", self.party))
    }

    pub fn next_within(&self, timeout: Duration) -> Option<Event> {
        match self.events.recv_timeout(timeout) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("{}: the plane is closed", self.party),
        }
    }

    /// Waits for an event that `found` turns into something; passes over others, but not over failures.
    pub fn wait<T>(&self, what: &str, mut found: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.next_within(left).unwrap_or_else(|| panic!("{}: no {what} came", self.party));
            if let Some(found) = found(&event) {
                return found;
            }
            assert!(!matches!(event, Event::Failed { .. }), "{}: {event:?} instead of {what}", self.party);
        }
    }

    pub fn wait_for(&self, expected: Event) {
        self.wait(&format!("{expected:?}"), |event| (*event == expected).then_some(()));
    }

    /// Code, message and peer of the step's failure.
    pub fn wait_for_failure(&self, call: u64) -> (String, String, String) {
        self.wait("failure", |event| match event {
            Event::Failed { key: failed, code, message, peer } if *failed == key(call) => {
                Some((code.clone(), message.clone(), peer.clone()))
            }
            _ => None,
        })
    }

    /// The lost link and the reason.
    pub fn wait_for_lost_link(&self) -> (String, String) {
        self.wait("lost link", |event| match event {
            Event::LinkLost { link, reason } => Some((link.clone(), reason.clone())),
            _ => None,
        })
    }
}

/// Under which name processes of these tests dial a rank.
pub fn link(to: Party) -> String {
    format!("to {to}")
}

/// Ranks that are connected to each other, and owners that are connected to their relays.
pub fn connected(ranks: u32, owners: u32) -> (Vec<Process>, Vec<Process>) {
    connect_all((0..ranks).map(Process::rank).collect(), (0..owners).map(Process::owner).collect())
}

/// The same by unix sockets.
pub fn connected_by_unix_socket(ranks: u32, owners: u32) -> (Vec<Process>, Vec<Process>) {
    let ranks = (0..ranks).map(Process::by_unix_socket).collect();
    connect_all(ranks, (0..owners).map(Process::owner_by_unix_socket).collect())
}

pub fn connect_all(ranks: Vec<Process>, owners: Vec<Process>) -> (Vec<Process>, Vec<Process>) {
    for from in &ranks {
        for to in ranks.iter().filter(|to| to.party != from.party) {
            from.connect(to).unwrap();
        }
    }
    for owner in &owners {
        owner.connect(&ranks[owner.party.index as usize % ranks.len()]).unwrap();
    }
    (ranks, owners)
}
