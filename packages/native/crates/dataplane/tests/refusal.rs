//! Slices and calls that are not taken, and who is told.

mod support;

use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::Duration;

use support::{DEADLINE, Process, bytes_of, connected, key, owner, part, rank, registration, whole};
use ulysses_dataplane::{
    Code, Event, Plane, PlaneOptions, Receive, Region, RegionPool, Route, SegmentPlace, StepRegistration, Tensor,
};

/// Rank 1 expects all of `region` from rank 0, as one segment of q.
fn expect(process: &Process, call: u64, region: &Region) -> StepRegistration {
    let receives = vec![Receive { source: rank(0), tensor: Tensor::Q, segments: vec![whole(region)] }];
    StepRegistration { receives, ..registration(call, process.party) }
}

/// Rank 0 may send so many bytes to rank 1.
fn sends(call: u64, bytes: usize) -> StepRegistration {
    let routes = vec![Route { destination: rank(1), link: "to rank 1".into() }];
    StepRegistration { routes, send_bytes: bytes as u64, ..registration(call, rank(0)) }
}

fn send(process: &Process, call: u64, tensor: Tensor, number: u32, segment: SegmentPlace) {
    process.plane.send(&key(call), rank(1), tensor, number, vec![segment]).unwrap();
}

#[test]
fn a_slice_from_another_epoch_is_refused_before_its_payload_is_placed() {
    let (ranks, _) = connected(2, 0);
    let received = ranks[1].pool.allocate(1 << 20).unwrap();
    ranks[1].plane.register_step(StepRegistration { epoch: 6, ..expect(&ranks[1], 0, &received) }).unwrap();
    let sent = ranks[0].filled(1 << 20);
    ranks[0].plane.register_step(StepRegistration { epoch: 5, ..sends(0, sent.len()) }).unwrap();
    send(&ranks[0], 0, Tensor::Q, 0, whole(&sent));
    let (code, message, peer) = ranks[0].wait_for_failure(0);
    assert_eq!((code.as_str(), peer.as_str()), ("STALE_EPOCH", "rank 1"));
    assert_eq!(message, "step job/session/0/forward/0 of epoch 5, expected epoch 6");
    assert!(bytes_of(&received).iter().all(|&byte| byte == 0));
    assert_eq!(ranks[1].plane.counters().received_bytes, 0);

    // The step of the right epoch is not harmed.
    ranks[0].plane.close_step(&key(0));
    ranks[0].plane.register_step(StepRegistration { epoch: 6, ..sends(0, sent.len()) }).unwrap();
    send(&ranks[0], 0, Tensor::Q, 0, whole(&sent));
    ranks[0].wait_for(Event::Sent { key: key(0) });
    assert!(bytes_of(&received) == bytes_of(&sent));
}

#[test]
fn slices_of_an_unknown_step_are_refused_and_do_not_end_the_link() {
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled(3 << 20);
    ranks[0].plane.register_step(sends(0, sent.len())).unwrap();
    for third in 0..3 {
        send(&ranks[0], 0, Tensor::Q, third, part(&sent, (third as usize) << 20, 1 << 20));
    }
    let (code, message, _) = ranks[0].wait_for_failure(0);
    assert_eq!(code, "STALE_EPOCH");
    assert!(message.ends_with("which is not registered"), "{message}");

    let received = ranks[1].pool.allocate(1000).unwrap();
    ranks[1].plane.register_step(expect(&ranks[1], 1, &received)).unwrap();
    ranks[0].plane.register_step(sends(1, 1000)).unwrap();
    send(&ranks[0], 1, Tensor::Q, 0, part(&sent, 0, 1000));
    ranks[0].wait_for(Event::Sent { key: key(1) });
}

#[test]
fn what_the_plan_does_not_expect_fails_the_step_at_both_ends() {
    let cases: [(Tensor, u32, usize, &str, &str); 4] = [
        (Tensor::K, 0, 100, "PLAN_INVALID", "nothing of that tensor"),
        (Tensor::Q, 1, 100, "PLAN_INVALID", "expected a segment below 1"),
        (Tensor::Q, 0, 99, "SHAPE_MISMATCH", "segment_bytes 99, expected 100"),
        (Tensor::Q, 0, 101, "SHAPE_MISMATCH", "segment_bytes 101, expected 100"),
    ];
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled(200);
    for (call, (tensor, number, bytes, code, message)) in cases.into_iter().enumerate() {
        let call = call as u64;
        let received = ranks[1].pool.allocate(100).unwrap();
        ranks[1].plane.register_step(expect(&ranks[1], call, &received)).unwrap();
        ranks[0].plane.register_step(sends(call, bytes)).unwrap();
        send(&ranks[0], call, tensor, number, part(&sent, 0, bytes));
        for (at, peer) in [(0, "rank 1"), (1, "rank 0")] {
            let failure = ranks[at].wait_for_failure(call);
            assert_eq!((failure.0.as_str(), failure.2.as_str()), (code, peer));
            assert!(failure.1.contains(message), "{}", failure.1);
        }
        assert_eq!(bytes_of(&received), [0; 100]);
    }
}

#[test]
fn a_segment_that_comes_twice_is_refused_and_placed_once() {
    let (ranks, _) = connected(2, 0);
    let received = ranks[1].pool.allocate(200).unwrap();
    let mut step = expect(&ranks[1], 0, &received);
    step.receives[0].segments = vec![part(&received, 0, 100), part(&received, 100, 100)];
    ranks[1].plane.register_step(step).unwrap();
    let (first, second) = (ranks[0].filled(100), ranks[0].pool.allocate(100).unwrap());
    ranks[0].plane.register_step(sends(0, 200)).unwrap();
    send(&ranks[0], 0, Tensor::Q, 0, whole(&first));
    send(&ranks[0], 0, Tensor::Q, 0, whole(&second));
    let (code, message, peer) = ranks[0].wait_for_failure(0);
    assert_eq!((code.as_str(), peer.as_str()), ("PLAN_INVALID", "rank 1"));
    assert_eq!(message, "segment 0 of q from rank 0: offset_bytes 0, expected 100");
    assert_eq!(bytes_of(&received)[..100], bytes_of(&first));
}

#[test]
fn a_relay_that_would_hold_too_much_says_so() {
    // The owner never dials in, so the relay cannot forward.
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled(10_000);
    let mut step = sends(0, sent.len());
    step.routes = vec![Route { destination: owner(1), link: "to rank 1".into() }];
    ranks[0].plane.register_step(step).unwrap();
    let routes = vec![Route { destination: owner(1), link: "owner/1/job/session".into() }];
    let relay = StepRegistration { routes, relay_bytes: 9_999, ..registration(0, rank(1)) };
    ranks[1].plane.register_step(relay).unwrap();
    ranks[0].plane.send(&key(0), owner(1), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    let (code, message, peer) = ranks[0].wait_for_failure(0);
    assert_eq!((code.as_str(), peer.as_str()), ("OVERLOADED", "rank 1"));
    assert_eq!(message, "relayBytes: 10000 bytes wait to be forwarded, expected at most 9999");
    ranks[1].wait_for_failure(0);
}

#[test]
fn relays_that_route_in_a_circle_end_it() {
    let (ranks, _) = connected(3, 0);
    let sent = ranks[0].filled(1000);
    let through = |index: u32, link: &str| StepRegistration {
        routes: vec![Route { destination: owner(0), link: link.into() }],
        relay_bytes: 1 << 20,
        send_bytes: if index == 0 { 1000 } else { 0 },
        ..registration(0, rank(index))
    };
    ranks[1].plane.register_step(through(1, "to rank 2")).unwrap();
    ranks[2].plane.register_step(through(2, "to rank 1")).unwrap();
    ranks[0].plane.register_step(through(0, "to rank 1")).unwrap();
    ranks[0].plane.send(&key(0), owner(0), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    let (code, message, _) = ranks[1].wait_for_failure(0);
    assert_eq!((code.as_str(), message.as_str()), ("PLAN_INVALID", "slices of rank 0 come on two calls, expected one"));
}

#[test]
fn calls_that_contradict_the_registration_fail_at_once() {
    let (ranks, _) = connected(2, 0);
    let sent = ranks[0].filled(100);
    let plane = &ranks[0].plane;
    let place = || vec![whole(&sent)];
    assert_eq!(plane.send(&key(0), rank(1), Tensor::Q, 0, place()).unwrap_err().code, Code::PlanInvalid);
    plane.register_step(sends(0, 99)).unwrap();
    assert_eq!(plane.register_step(sends(0, 99)).unwrap_err().code, Code::PlanInvalid);
    let error = plane.send(&key(0), rank(1), Tensor::Q, 0, place()).unwrap_err();
    assert_eq!(error.message, "sendBytes: 100 bytes were sent, expected at most 99");
    let error = plane.send(&key(0), rank(2), Tensor::Q, 0, vec![part(&sent, 0, 1)]).unwrap_err();
    assert_eq!(error.message, "routes: rank 0 has no route to rank 2");
    let outside = SegmentPlace { offset_bytes: 1, ..whole(&sent) };
    assert_eq!(plane.send(&key(0), rank(1), Tensor::Q, 0, vec![outside]).unwrap_err().code, Code::PlanInvalid);
    plane.close_step(&key(0));
    assert_eq!(plane.send(&key(0), rank(1), Tensor::Q, 0, place()).unwrap_err().code, Code::Cancelled);
}

#[test]
fn sending_where_nobody_is_connected_fails_the_step() {
    let alone = Process::rank(0);
    let sent = alone.filled(10);
    alone.plane.register_step(sends(0, 10)).unwrap();
    send(&alone, 0, Tensor::Q, 0, whole(&sent));
    let (code, message, peer) = alone.wait_for_failure(0);
    assert_eq!((code.as_str(), peer.as_str()), ("PEER_LOST", "rank 1"));
    assert_eq!(message, "link to rank 1 to rank 1 is not connected");
}

#[test]
fn a_relay_that_is_gone_is_the_one_that_is_lost_and_not_who_is_behind_it() {
    let alone = Process::rank(0);
    let sent = alone.filled(10);
    let routes = vec![Route { destination: rank(1), link: "to/rank/2/member/from/0".into() }];
    alone.plane.register_step(StepRegistration { routes, ..sends(0, 10) }).unwrap();
    send(&alone, 0, Tensor::Q, 0, whole(&sent));
    let (code, _, peer) = alone.wait_for_failure(0);
    assert_eq!((code.as_str(), peer.as_str()), ("PEER_LOST", "rank 2"));
}

#[test]
fn dialling_ends_by_its_deadline_and_names_what_went_wrong() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let rank = Process::rank(0);
    let error = rank.connect_to("silent", &address, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.code, Code::Deadline);
    assert_eq!(error.message, format!("link silent: {address} did not answer within 50 ms"));
    drop(silent);
    let error = rank.connect_to("refused", &address, DEADLINE).unwrap_err();
    assert_eq!(error.code, Code::PeerLost);
    assert!(error.message.starts_with(&format!("link refused to {address}: ")), "{error}");
}

#[test]
fn closing_a_plane_cancels_dialling() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let process = Process::rank(0);
    let (sender, done) = channel();
    let told = Box::new(move |result| drop(sender.send(result)));
    process.plane.connect_rank("silent", &address, &process.name(), DEADLINE, told);
    process.plane.close();
    assert_eq!(done.recv_timeout(DEADLINE).unwrap().unwrap_err().code, Code::Cancelled);
}

#[test]
fn a_party_must_be_well_formed() {
    let process = Process::rank(0);
    let (sender, done) = channel();
    let told = Box::new(move |result| drop(sender.send(result)));
    process.plane.connect_rank("self", &process.address(), "rank/0", DEADLINE, told);
    let error = done.recv_timeout(DEADLINE).unwrap().unwrap_err();
    assert_eq!(error.code, Code::Config);
    assert!(error.message.contains("\"rank/0\", expected rank/<index>/<member>"), "{error}");
}

#[test]
fn an_address_in_use_is_a_configuration_error() {
    let first = Process::rank(0);
    let options = PlaneOptions { listen: Some(first.address()), ..PlaneOptions::new("rank 1") };
    let error = Plane::open(options, RegionPool::new(0), Box::new(|_| ())).map(|_| ()).unwrap_err();
    assert_eq!(error.code, Code::Config);
    assert!(error.message.starts_with(&format!("listen {}: ", first.address())), "{error}");
}
