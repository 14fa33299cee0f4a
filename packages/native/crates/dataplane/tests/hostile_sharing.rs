//! Peers that share memory and break the rules, or none of them, against a plane.
#![cfg(target_os = "linux")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::thread;

use support::greeting::{SEALS, dial, greet, memory};
use support::stock::{Ack, AckEnvelope, PARTY, SharedRows, SliceEnvelope, Stock, expect, party, slice, step};
use support::{Process, bytes_of, key, owner, rank, registration, whole};
use tonic::Code;
use ulysses_dataplane::{Event, Route, StepRegistration, Tensor};

const SHARED_BYTES: usize = 16 << 20;
const PAGE: usize = 4096;

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

/// A client whose memory has these bytes, connected.
fn sharing(process: &Process, bytes: &[u8]) -> Stock {
    let mut socket = dial(&process.address());
    assert!(greet(&mut socket, bytes.len() as u64, &memory(bytes, SEALS)));
    Stock::over(socket, process)
}

fn rows(offset_bytes: u64, rows: u64, row_bytes: u64, row_stride_bytes: u64) -> SharedRows {
    SharedRows { offset_bytes, rows, row_bytes, row_stride_bytes }
}

/// A slice of a whole segment whose rows lie in the sender's memory.
fn shared(call: u64, segment_bytes: usize, shared: SharedRows) -> SliceEnvelope {
    let mut envelope = slice(call, 0, segment_bytes, &[]);
    envelope.slice.as_mut().unwrap().shared = Some(shared);
    envelope
}

#[test]
fn a_process_of_another_user_is_not_answered() {
    let process = Process::sharing(0, SHARED_BYTES);
    let address = process.address();
    let answered = || {
        let mut socket = dial(&address);
        // It may be refused before it has said anything.
        let said = socket.write_all(b"\0ulysses\0\0\0\0\0\0\0\0");
        let mut answer = [0; 16];
        said.and_then(|()| socket.read_exact(&mut answer)).is_ok()
    };
    assert!(answered(), "a process of the same user is");
    // SAFETY: reads the user of this process.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("not run: a process of another user, which takes root");
        return;
    }
    let refused = || {
        // SAFETY: changes the user of this thread, which ends soon; libc's function would change that of all threads.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, 65534, -1) }, 0);
        !answered()
    };
    assert!(thread::scope(|scope| scope.spawn(refused).join()).unwrap(), "another user is not");
    assert!(answered(), "and the same user still is");
}

#[test]
fn rows_of_any_stride_are_read_acknowledged_and_released() {
    let process = Process::sharing(0, SHARED_BYTES);
    let lies = pattern(PAGE);
    let stock = sharing(&process, &lies);
    let (slices, mut replies) = stock.push();
    for (call, (rows, expected)) in [
        (rows(1000, 1, 300, 300), lies[1000..1300].to_vec()),
        (rows(0, 4, 10, 1024), (0..4).flat_map(|row| lies[row * 1024..][..10].to_vec()).collect()),
        (rows(PAGE as u64 - 20, 1, 20, 20), lies[PAGE - 20..].to_vec()),
    ]
    .into_iter()
    .enumerate()
    {
        let (call, bytes) = (call as u64, expected.len());
        let received = expect(&process, call, bytes);
        slices.send(shared(call, bytes, rows)).unwrap();
        let ack = stock.next(&mut replies).unwrap().unwrap().ack.unwrap();
        assert_eq!((ack.step, ack.bytes, ack.error), (step(call), bytes as u64, None));
        assert_eq!(stock.next(&mut replies).unwrap().unwrap(), AckEnvelope { ack: None, released: call + 1 });
        process.wait_for(Event::Received { key: key(call) });
        assert!(bytes_of(&received) == expected, "step {call}");
    }
    assert_eq!(process.plane.counters().shared_connections, 1);
}

#[test]
fn rows_outside_the_memory_are_refused_and_nothing_is_placed() {
    let process = Process::sharing(0, SHARED_BYTES);
    let stock = sharing(&process, &vec![7; 4 * PAGE]);
    let (slices, mut replies) = stock.push();
    let (size, max) = (4 * PAGE as u64, u64::MAX);
    for (call, outside) in [
        rows(size, 1, 100, 100),
        rows(size - 99, 1, 100, 100),
        rows(max - 50, 1, 100, 100),
        rows(0, 10, 10, size),
        rows(0, 10, 10, max / 2),
        rows(0, max, 100, 0),
        rows(0, 0, 100, 100),
        rows(0, 100, 0, 1),
        rows(0, 1, max, 0),
        // Inside, but more than any message may bring.
        rows(0, 8192, size, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let call = call as u64;
        let received = expect(&process, call, 100);
        slices.send(shared(call, 100, outside)).unwrap();
        let error = stock.next(&mut replies).unwrap().unwrap().ack.unwrap().error.unwrap();
        assert_eq!(error.code, "SHAPE_MISMATCH", "{outside:?}");
        assert!(
            error.message.contains("expected at most 67108864 bytes that end within the 16384"),
            "{}",
            error.message
        );
        assert_eq!(process.wait_for_failure(call).0, "SHAPE_MISMATCH");
        assert!(bytes_of(&received).iter().all(|&byte| byte == 0));
        assert_eq!(stock.next(&mut replies).unwrap().unwrap().released, call + 1, "what is refused is released too");
    }
}

#[test]
fn rows_that_do_not_fit_their_segment_are_refused() {
    let process = Process::sharing(0, SHARED_BYTES);
    let stock = sharing(&process, &vec![7; 4 * PAGE]);
    let (slices, mut replies) = stock.push();
    expect(&process, 0, 100);
    slices.send(shared(0, 100, rows(0, 1, 101, 101))).unwrap();
    let error = stock.next(&mut replies).unwrap().unwrap().ack.unwrap().error.unwrap();
    assert_eq!(error.code, "SHAPE_MISMATCH");
    assert!(error.message.contains("101 bytes at offset_bytes 0, expected at most 100"), "{}", error.message);
}

#[test]
fn shared_rows_are_refused_on_connections_that_passed_no_memory() {
    let process = Process::sharing(0, SHARED_BYTES);
    for (call, stock) in
        [Stock::connect(&process), Stock::over(dial(&process.address()), &process)].into_iter().enumerate()
    {
        let call = call as u64;
        let (slices, mut replies) = stock.push();
        expect(&process, call, 100);
        slices.send(shared(call, 100, rows(0, 1, 100, 100))).unwrap();
        let error = stock.next(&mut replies).unwrap().unwrap().ack.unwrap().error.unwrap();
        assert_eq!(error.code, "UNSUPPORTED");
        assert_eq!(process.wait_for_failure(call).0, "UNSUPPORTED");
    }
}

#[test]
fn memory_that_its_owner_could_change_in_size_is_declined_and_payload_travels() {
    let process = Process::sharing(0, SHARED_BYTES);
    let bytes = vec![7; PAGE];
    let (size, null) = (PAGE as u64, File::open("/dev/null").unwrap());
    let file = |seals| memory(&bytes, seals);
    for (call, (stated, passed)) in [
        (size, file(0)),
        (size, file(SEALS & !libc::F_SEAL_SHRINK)),
        (size, file(SEALS & !libc::F_SEAL_FUTURE_WRITE)),
        (2 * size, file(SEALS)),
        (0, file(SEALS)),
        (size, null),
    ]
    .into_iter()
    .enumerate()
    {
        let call = call as u64;
        let mut socket = dial(&process.address());
        assert!(!greet(&mut socket, stated, &passed), "memory {call}");
        let stock = Stock::over(socket, &process);
        let (slices, mut replies) = stock.push();
        expect(&process, call, 10);
        slices.send(slice(call, 0, 10, &[1; 10])).unwrap();
        assert_eq!(stock.next(&mut replies).unwrap().unwrap().ack.unwrap().error, None);
    }
}

#[test]
fn a_greeting_that_is_none_ends_its_connection_only() {
    let process = Process::sharing(0, SHARED_BYTES);
    for begins in [&b"\0"[..], b"\0ulysseS12345678", b"\0ulysses1234"] {
        let mut socket = dial(&process.address());
        socket.write_all(begins).unwrap();
        let ended = socket.read(&mut [0; 16]);
        assert!(
            matches!(ended, Ok(0)) || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    sharing(&process, &[7; PAGE]);
}

#[test]
fn what_is_lent_is_held_until_it_is_released_and_no_more_than_the_window() {
    let process = Process::sharing(0, SHARED_BYTES);
    let (call, bytes) = (0, 8 << 20);
    let sent = process.filled(bytes);
    let routes = vec![Route { destination: owner(0), link: PARTY.into() }];
    let registered = StepRegistration { routes, send_bytes: bytes as u64, ..registration(call, rank(0)) };
    process.plane.register_step(registered).unwrap();
    process.plane.send(&key(call), owner(0), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    let stock = sharing(&process, &[7; PAGE]);
    let (replies, mut slices) = stock.pull();
    let (mut lent, mut released) = (0, 0);
    while lent < bytes as u64 {
        for _ in 0..8 {
            let slice = stock.next(&mut slices).unwrap().unwrap().slice.unwrap();
            assert_eq!(slice.offset_bytes, lent);
            lent += slice.shared.unwrap().row_bytes;
        }
        assert_eq!(process.plane.counters().shared_bytes, lent, "eight chunks are a window");
        released += 8;
        if lent < bytes as u64 {
            replies.send(AckEnvelope { ack: None, released }).unwrap();
        }
    }
    drop(sent);
    assert!(process.pool.usage().shared_bytes >= bytes, "the last window is not released");
    let (source, destination) = (party(rank(0)), party(owner(0)));
    let ack = Some(Ack { epoch: 1, step: step(call), source, destination, bytes: bytes as u64, error: None });
    // The release in front of its ack.
    replies.send(AckEnvelope { ack: None, released }).unwrap();
    replies.send(AckEnvelope { ack, released: 0 }).unwrap();
    process.wait_for(Event::Sent { key: key(call) });
    assert_eq!(process.pool.usage().shared_bytes, 0);
}

#[test]
fn what_a_lost_reader_did_not_release_is_held_until_its_step_is_closed() {
    let process = Process::sharing(0, SHARED_BYTES);
    let sent = process.filled(1 << 20);
    let routes = vec![Route { destination: owner(0), link: PARTY.into() }];
    let registered = StepRegistration { routes, send_bytes: 1 << 20, ..registration(0, rank(0)) };
    process.plane.register_step(registered).unwrap();
    process.plane.send(&key(0), owner(0), Tensor::Out, 0, vec![whole(&sent)]).unwrap();
    drop(sent);
    let stock = sharing(&process, &[7; PAGE]);
    let (_replies, mut slices) = stock.pull();
    for _ in 0..2 {
        assert!(stock.next(&mut slices).unwrap().unwrap().slice.unwrap().shared.is_some());
    }
    drop((slices, stock));
    assert_eq!(process.wait_for_lost_link().0, PARTY);
    assert!(process.pool.usage().shared_bytes >= 1 << 20);
    process.plane.close_step(&key(0));
    process.plane.close();
    assert_eq!(process.pool.usage().shared_bytes, 0);
}

#[test]
fn a_release_of_what_was_not_lent_ends_the_call() {
    let process = Process::sharing(0, SHARED_BYTES);
    let stock = sharing(&process, &[7; PAGE]);
    let (replies, mut slices) = stock.pull();
    replies.send(AckEnvelope { ack: None, released: 1 }).unwrap();
    let status = stock.next(&mut slices).unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "released: 1, expected no more slices than share rows")
    );
}
