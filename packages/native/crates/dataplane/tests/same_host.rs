//! Links between processes of one host: unix sockets where both ends allow them, TCP otherwise, and the same bytes by both.
#![cfg(target_os = "linux")]

mod support;

use std::os::unix::net::UnixListener;

use support::greeting::abstract_name;
use support::step::{Shape, run};
use support::{DEADLINE, Process, connected_by_unix_socket};

fn in_order(segments: usize) -> Vec<usize> {
    (0..segments).collect()
}

fn unix_connections(process: &Process) -> usize {
    process.plane.counters().unix_connections
}

#[test]
fn whole_steps_go_over_unix_sockets_between_planes_that_allow_it() {
    let shape = Shape { ranks: 3, heads: 7, rows: vec![5, 0, 9000, 37], row_bytes: 64 };
    let (ranks, owners) = connected_by_unix_socket(3, 4);
    for call in 0..3 {
        run(&shape, (&ranks, &owners), call, in_order);
    }
    // Two dialled and two accepted; and the owners' at their relays, of which rank 0 has two.
    assert_eq!(ranks.iter().map(unix_connections).collect::<Vec<_>>(), [6, 5, 5]);
    assert_eq!(owners.iter().map(unix_connections).collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[test]
fn tcp_serves_where_one_end_does_not_allow_unix_sockets() {
    let (tcp, unix) = (Process::rank(0), Process::by_unix_socket(1));
    tcp.connect(&unix).unwrap();
    unix.connect(&tcp).unwrap();
    assert_eq!((unix_connections(&tcp), unix_connections(&unix)), (0, 0));
}

#[test]
fn a_name_that_goes_with_its_process_leaves_no_file() {
    let listens = Process::by_unix_socket(0);
    let (address, dials) = (listens.address(), Process::by_unix_socket(1));
    dials.connect(&listens).unwrap();
    assert_eq!(unix_connections(&dials), 1);
    listens.plane.close();
    dials.wait_for_lost_link();
    assert_eq!(unix_connections(&dials), 0);
    let refused = dials.connect_to("again", &address, DEADLINE).unwrap_err();
    assert!(refused.message.contains("refused"), "{refused}");
    // Free again for whoever comes next.
    UnixListener::bind_addr(&abstract_name(&address)).unwrap();
}
