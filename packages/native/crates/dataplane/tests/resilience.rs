//! Lost peers, aborted steps, redialling: what is left works, and memory is given back.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use support::step::{Shape, cluster, run};
use support::{DEADLINE, Process, bytes_of, connected, key, link, owner, part, rank, registration, whole};
use ulysses_dataplane::{Event, PlaneOptions, Receive, Region, Route, StepRegistration, Tensor};

const SMALL: fn() -> Shape = || Shape { ranks: 2, heads: 3, rows: vec![10, 7], row_bytes: 16 };

fn in_order(segments: usize) -> Vec<usize> {
    (0..segments).collect()
}

/// The next so many links to be lost, sorted.
fn lost_links(process: &Process, links: usize) -> Vec<String> {
    let mut lost: Vec<String> = (0..links).map(|_| process.wait_for_lost_link().0).collect();
    lost.sort();
    lost
}

fn send_to_rank_1(from: &Process, call: u64, sent: &Region) {
    let routes = vec![Route { destination: rank(1), link: link(rank(1)) }];
    let step = StepRegistration { routes, send_bytes: sent.len() as u64, ..registration(call, from.party) };
    from.plane.register_step(step).unwrap();
    from.plane.send(&key(call), rank(1), Tensor::Q, 0, vec![whole(sent)]).unwrap();
}

fn expect_from_rank_0(at: &Process, call: u64, bytes: usize) -> Region {
    let received = at.pool.allocate(bytes).unwrap();
    let receives = vec![Receive { source: rank(0), tensor: Tensor::Q, segments: vec![whole(&received)] }];
    at.plane.register_step(StepRegistration { receives, ..registration(call, at.party) }).unwrap();
    received
}

/// Carries bytes between a process and a peer until it is frozen; then it holds the connections open and carries nothing.
struct Wire {
    address: String,
    frozen: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Wire {
    fn to(target: &str) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let wire = Wire {
            address: listener.local_addr().unwrap().to_string(),
            frozen: Arc::default(),
            sockets: Arc::default(),
        };
        let (frozen, sockets, target) = (wire.frozen.clone(), wire.sockets.clone(), target.to_string());
        thread::spawn(move || {
            let near = listener.accept().unwrap().0;
            let far = TcpStream::connect(target).unwrap();
            for (from, to) in [(&near, &far), (&far, &near)] {
                sockets.lock().unwrap().push(from.try_clone().unwrap());
                let (from, to, frozen) = (from.try_clone().unwrap(), to.try_clone().unwrap(), frozen.clone());
                thread::spawn(move || carry(from, to, &frozen));
            }
        });
        wire
    }

    fn freeze(&self) {
        self.frozen.store(true, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.sockets.lock().unwrap().clear();
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
    let mut buffer = [0; 4096];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        if frozen.load(Ordering::Relaxed) || to.write_all(&buffer[..bytes]).is_err() {
            return;
        }
    }
}

#[test]
fn survivors_hear_of_a_lost_peer_on_both_links_and_go_on_without_it() {
    let (mut ranks, _) = connected(3, 0);
    let dead = ranks.pop().unwrap();
    let sent = ranks[0].filled(32 << 20);
    let _never_complete = expect_from_rank_0(&dead, 0, sent.len());
    let routes = vec![Route { destination: dead.party, link: link(dead.party) }];
    let step = StepRegistration { routes, send_bytes: 32 << 20, ..registration(0, rank(0)) };
    ranks[0].plane.register_step(step).unwrap();
    ranks[0].plane.send(&key(0), dead.party, Tensor::Q, 0, vec![whole(&sent)]).unwrap();
    dead.plane.close();
    for survivor in &ranks {
        assert_eq!(lost_links(survivor, 2), ["rank/2/member", "to rank 2"]);
    }
    ranks[0].plane.close_step(&key(0));
    let _received = expect_from_rank_0(&ranks[1], 1, 1000);
    send_to_rank_1(&ranks[0], 1, &ranks[0].filled(1000));
    ranks[0].wait_for(Event::Sent { key: key(1) });
}

#[test]
fn an_aborted_step_frees_its_memory_and_the_links_serve_the_next() {
    const BYTES: usize = 16 << 20;
    let shape = Shape { ranks: 1, heads: 3, rows: vec![10], row_bytes: 16 };
    let (rank0, go_on) = Process::gated_rank(0, 7);
    let owner0 = Process::owner(0);
    owner0.connect(&rank0).unwrap();
    for call in 0..3 {
        let sent = owner0.filled(BYTES);
        let received = rank0.pool.allocate(BYTES).unwrap();
        let mut segments = vec![part(&received, 0, 1000), part(&received, 1000, BYTES - 1000)];
        segments[0].granule = 7;
        let receives = vec![Receive { source: owner(0), tensor: Tensor::Q, segments }];
        rank0.plane.register_step(StepRegistration { receives, ..registration(call, rank(0)) }).unwrap();
        let routes = vec![Route { destination: rank(0), link: link(rank(0)) }];
        let step = StepRegistration { routes, send_bytes: BYTES as u64, ..registration(call, owner(0)) };
        owner0.plane.register_step(step).unwrap();
        let places = vec![part(&sent, 0, 1000), part(&sent, 1000, BYTES - 1000)];
        owner0.plane.send(&key(call), rank(0), Tensor::Q, 0, places).unwrap();
        // The rank's plane stands still, so most of the rows are under way or not sent.
        rank0.wait_for(Event::Granule { key: key(call), granule: 7 });
        rank0.plane.close_step(&key(call));
        let at_close = bytes_of(&received);
        go_on.send(()).unwrap();
        let (code, _, peer) = owner0.wait_for_failure(call);
        assert_eq!((code.as_str(), peer.as_str()), ("STALE_EPOCH", "rank 0"));
        assert!(bytes_of(&received) == at_close, "something was placed after the step was closed");
        assert_eq!(at_close[BYTES - 1000..], [0; 1000], "the step was aborted half way");
        assert_eq!(rank0.plane.counters().steps, 0);
        drop(received);
        assert_eq!(rank0.pool.usage().allocated_bytes, 0);
        owner0.plane.close_step(&key(call));
    }
    let (ranks, owners) = ([rank0], [owner0]);
    run(&shape, (&ranks, &owners), 100, in_order);
    // The step above went through the same queues, so nothing of the aborted ones is left in them.
    for process in ranks.iter().chain(&owners) {
        assert_eq!(process.pool.usage().allocated_bytes, 0, "{}", process.party);
    }
}

#[test]
fn an_owner_that_dials_again_takes_the_place_of_its_old_link() {
    let shape = SMALL();
    let (ranks, mut owners) = cluster(&shape);
    run(&shape, (&ranks, &owners), 0, in_order);
    // The same process, which replaces its own link.
    owners[0].connect(&ranks[0]).unwrap();
    run(&shape, (&ranks, &owners), 1, in_order);
    // A new process under the same name, while the old one is still connected: the rank reports nothing.
    let old = std::mem::replace(&mut owners[0], Process::owner(0));
    owners[0].connect(&ranks[0]).unwrap();
    assert_eq!(old.wait_for_lost_link().0, "to rank 0");
    run(&shape, (&ranks, &owners), 2, in_order);
    drop(old);
    run(&shape, (&ranks, &owners), 3, in_order);
    drop(owners);
    let (lost, _) = ranks[0].wait_for_lost_link();
    assert_eq!(lost, "owner/0/job/session");
    assert_eq!(ranks[1].wait_for_lost_link().0, "owner/1/job/session");
}

#[test]
fn a_link_that_was_disconnected_ends_silently_here_and_is_reported_there() {
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled(8 << 20);
    let _received = expect_from_rank_0(&ranks[1], 0, sent.len());
    send_to_rank_1(&ranks[0], 0, &sent);
    ranks[0].plane.disconnect("to rank 1");
    assert_eq!(ranks[1].wait_for_lost_link().0, "rank/0/member");
    ranks[0].plane.close_step(&key(0));
    drop(sent);
    ranks[0].connect(&ranks[1]).unwrap();
    assert_eq!(ranks[0].pool.usage().allocated_bytes, 0, "the old connection holds nothing");
    ranks[1].plane.close();
    assert_eq!(lost_links(&ranks[0], 2), ["rank/1/member", "to rank 1"]);
}

#[test]
fn a_peer_that_falls_silent_is_lost_although_its_connection_stays_open() {
    let options = |party| PlaneOptions {
        listen: Some("127.0.0.1:0".into()),
        silent_peer_timeout: Duration::from_millis(600),
        ..PlaneOptions::new(party)
    };
    let (near, far) = (Process::open(rank(0), options("rank 0")), Process::open(rank(1), options("rank 1")));
    let wire = Wire::to(&far.address());
    near.connect_to("through the wire", &wire.address, DEADLINE).unwrap();
    wire.freeze();
    let (lost, reason) = near.wait_for_lost_link();
    assert_eq!(lost, "through the wire");
    assert!(reason.contains("keep-alive timed out"), "{reason}");
    assert_eq!(far.wait_for_lost_link().0, "rank/0/member");
}

#[test]
fn a_relay_that_lost_the_way_on_tells_the_source_who_is_gone() {
    let (mut ranks, _) = connected(3, 0);
    let sent = ranks[0].filled(1000);
    let gone = ranks.pop().unwrap();
    gone.plane.close();
    lost_links(&ranks[1], 2);
    let through = |index: u32, next: &str| StepRegistration {
        routes: vec![Route { destination: rank(2), link: next.into() }],
        relay_bytes: 1 << 20,
        send_bytes: if index == 0 { 1000 } else { 0 },
        ..registration(0, rank(index))
    };
    ranks[1].plane.register_step(through(1, "to rank 2")).unwrap();
    ranks[0].plane.register_step(through(0, "to rank 1")).unwrap();
    ranks[0].plane.send(&key(0), rank(2), Tensor::Q, 0, vec![whole(&sent)]).unwrap();
    let (code, message, peer) = ranks[0].wait_for_failure(0);
    assert_eq!((code.as_str(), peer.as_str()), ("PEER_LOST", "rank 2"));
    assert_eq!(message, "link to rank 2 to rank 2 is not connected");
    assert_eq!(ranks[1].wait_for_failure(0).2, "rank 2");
}

#[test]
fn clients_that_stop_half_way_block_nobody() {
    let shape = SMALL();
    let (ranks, owners) = cluster(&shape);
    let silent = TcpStream::connect(ranks[0].address()).unwrap();
    let mut half = TcpStream::connect(ranks[0].address()).unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04").unwrap();
    let mut noise = TcpStream::connect(ranks[0].address()).unwrap();
    noise.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    run(&shape, (&ranks, &owners), 0, in_order);
    drop((silent, half, noise));
}

#[test]
fn closing_planes_with_work_in_flight_frees_everything() {
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled(32 << 20);
    let received = expect_from_rank_0(&ranks[1], 0, sent.len());
    send_to_rank_1(&ranks[0], 0, &sent);
    let pools: Vec<_> = ranks.iter().map(|rank| rank.pool.clone()).collect();
    ranks.iter().for_each(|rank| rank.plane.close());
    drop((sent, received, ranks));
    for pool in pools {
        assert_eq!(pool.usage().allocated_bytes, 0);
    }
}
