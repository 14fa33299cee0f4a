//! A sequence owner made of a stock gRPC client (tonic) and the messages of the proto, against a plane.

mod support;

use std::time::Duration;

use support::stock::{Ack, AckEnvelope, PARTY, SliceEnvelope, Stock, expect, party, slice, step};
use support::{Process, bytes_of, key, owner, rank, registration, whole};
use tonic::Code;
use ulysses_dataplane::{Event, Receive, Route, StepRegistration, Tensor};

#[test]
fn a_stock_client_pushes_slices_and_hears_that_they_are_placed() {
    let process = Process::rank(0);
    let received = expect(&process, 0, 100_000);
    let stock = Stock::connect(&process);
    let (slices, mut acks) = stock.push();
    let rows: Vec<u8> = (0..100_000).map(|at| (at % 251) as u8).collect();
    for (number, chunk) in rows.chunks(30_000).enumerate() {
        slices.send(slice(0, number * 30_000, rows.len(), chunk)).unwrap();
    }
    // Nothing more is sent, and the answer comes all the same.
    drop(slices);
    let ack = stock.next(&mut acks).unwrap().unwrap().ack.unwrap();
    assert_eq!((ack.epoch, ack.step, ack.bytes, ack.error), (1, step(0), 100_000, None));
    assert_eq!((ack.source, ack.destination), (party(owner(0)), party(rank(0))));
    process.wait_for(Event::Received { key: key(0) });
    assert!(bytes_of(&received) == rows);
    process.plane.close_step(&key(0));
    assert_eq!(stock.next(&mut acks).unwrap(), None, "the call ends well when nothing is owed on it");
    assert_eq!(process.wait_for_lost_link().0, PARTY);
}

#[test]
fn a_stock_client_pulls_slices_and_acknowledges_them() {
    let process = Process::rank(0);
    let sent = process.filled(1_300_000);
    let routes = vec![Route { destination: owner(0), link: PARTY.into() }];
    let registered = StepRegistration { routes, send_bytes: 1_300_000, ..registration(0, rank(0)) };
    process.plane.register_step(registered).unwrap();
    process.plane.send(&key(0), owner(0), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    let stock = Stock::connect(&process);
    let (acks, mut slices) = stock.pull();
    let mut rows = Vec::new();
    while rows.len() < sent.len() {
        let slice = stock.next(&mut slices).unwrap().unwrap().slice.unwrap();
        assert_eq!((slice.offset_bytes, slice.segment_bytes), (rows.len() as u64, 1_300_000));
        assert_eq!((slice.epoch, slice.step, slice.tensor, slice.segment), (1, step(0), 4, 0));
        rows.extend(slice.payload);
    }
    assert!(rows == bytes_of(&sent));
    let (source, destination) = (party(rank(0)), party(owner(0)));
    let ack = Ack { epoch: 1, step: step(0), source, destination, bytes: 1_300_000, error: None };
    acks.send(AckEnvelope { ack: Some(ack), released: 0 }).unwrap();
    process.wait_for(Event::Sent { key: key(0) });
}

#[test]
fn a_stale_step_is_refused_once_per_source_and_the_call_goes_on() {
    let process = Process::rank(0);
    let stock = Stock::connect(&process);
    let (slices, mut acks) = stock.push();
    for third in 0..3 {
        slices.send(slice(7, third * 1000, 3000, &[1; 1000])).unwrap();
    }
    let refusal = stock.next(&mut acks).unwrap().unwrap().ack.unwrap();
    assert_eq!((refusal.step, refusal.bytes), (step(7), 0));
    assert_eq!(refusal.error.unwrap().code, "STALE_EPOCH");
    expect(&process, 8, 10);
    slices.send(slice(8, 0, 10, &[1; 10])).unwrap();
    let ack = stock.next(&mut acks).unwrap().unwrap().ack.unwrap();
    assert_eq!((ack.step, ack.error), (step(8), None), "one refusal for three slices");
}

#[test]
fn calls_and_messages_that_are_not_of_the_service_end_with_a_status_that_says_why() {
    let process = Process::rank(0);
    let stock = Stock::connect(&process);
    let refused = |method, party| stock.open::<SliceEnvelope, AckEnvelope>(method, party).unwrap_err();
    let status = refused("/ulysses.v1.TensorPlaneService/Pop", Some(PARTY));
    assert_eq!(status.code(), Code::Unimplemented);
    let status = refused("/ulysses.v1.TensorPlaneService/Push", None);
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("expected rank/<index>/<member>"), "{status}");

    let (slices, mut acks) = stock.push();
    let mut nameless = slice(0, 0, 1, &[1]);
    nameless.slice.as_mut().unwrap().step = None;
    slices.send(nameless).unwrap();
    let status = stock.next(&mut acks).unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "MISSING_FIELD: step"));
    assert_eq!(process.wait_for_lost_link(), (PARTY.into(), "MISSING_FIELD: step".into()));

    let (slices, mut acks) = stock.push();
    slices.send(slice(0, 0, 65 << 20, &vec![0; 65 << 20])).unwrap();
    let status = stock.next(&mut acks).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().starts_with("MESSAGE_TOO_LONG: "), "{status}");
}

#[test]
fn a_client_that_does_not_read_blocks_nobody() {
    let process = Process::rank(0);
    let sent = process.filled(16 << 20);
    let routes = vec![Route { destination: owner(0), link: PARTY.into() }];
    let step = StepRegistration { routes, send_bytes: 16 << 20, ..registration(0, rank(0)) };
    process.plane.register_step(step).unwrap();
    process.plane.send(&key(0), owner(0), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    let slow = Stock::connect(&process);
    let _unread = slow.pull();
    let other = Process::rank(1);
    other.connect(&process).unwrap();
    let rows = other.filled(4 << 20);
    let receives = vec![Receive {
        source: rank(1),
        tensor: Tensor::K,
        segments: vec![whole(&process.pool.allocate(4 << 20).unwrap())],
    }];
    process.plane.register_step(StepRegistration { receives, ..registration(1, rank(0)) }).unwrap();
    let routes = vec![Route { destination: rank(0), link: "to rank 0".into() }];
    let step = StepRegistration { routes, send_bytes: 4 << 20, ..registration(1, rank(1)) };
    other.plane.register_step(step).unwrap();
    other.plane.send(&key(1), rank(0), Tensor::K, 0, vec![whole(&rows)]).unwrap();
    other.wait_for(Event::Sent { key: key(1) });
    // And an abort frees what the slow one has not taken, up to what its connection holds.
    process.plane.close_step(&key(0));
    assert_eq!(process.next_within(Duration::ZERO).map(|event| matches!(event, Event::Failed { .. })), Some(false));
}
