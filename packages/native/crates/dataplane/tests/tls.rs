//! Mutual TLS: both ends prove who they are, or are told what is wrong; certificates change without a restart.

mod support;

use std::path::Path;

use support::certificates::{Authority, folder};
use support::step::{Shape, run};
use support::{DEADLINE, Process, connect_all, link, owner, rank};
use ulysses_dataplane::{Code, Error, Plane, PlaneOptions, RegionPool, TlsFiles, Transport};

const HOST: &str = "127.0.0.1";

fn in_order(segments: usize) -> Vec<usize> {
    (0..segments).collect()
}

fn rank_with(index: u32, tls: Option<TlsFiles>) -> Process {
    Process::open(rank(index), PlaneOptions { tls, ..Process::rank_options(index) })
}

fn owner_with(index: u32, tls: Option<TlsFiles>) -> Process {
    Process::open(owner(index), PlaneOptions { tls, ..Process::owner_options(owner(index)) })
}

/// What an owner with `client` hears from a rank with `server`.
fn refused(server: Option<TlsFiles>, client: Option<TlsFiles>) -> Error {
    let (server, client) = (rank_with(0, server), owner_with(0, client));
    client.connect(&server).unwrap_err()
}

fn assert_unauthenticated(error: &Error, reason: &str) {
    assert_eq!(error.code, Code::Unauthenticated, "{error}");
    assert!(error.message.contains(reason), "{error}, expected {reason}");
}

#[test]
fn whole_steps_go_over_mutual_tls() {
    let (authority, files) = (Authority::new("cluster"), folder("whole-steps"));
    let tls = |name: String| Some(authority.issue(&files.join(name), HOST));
    let ranks = (0..3).map(|index| rank_with(index, tls(format!("rank-{index}")))).collect();
    let owners = (0..4).map(|index| owner_with(index, tls(format!("owner-{index}")))).collect();
    let (ranks, owners) = connect_all(ranks, owners);
    let shape = Shape { ranks: 3, heads: 7, rows: vec![5, 0, 9000, 37], row_bytes: 64 };
    for call in 0..3 {
        run(&shape, (&ranks, &owners), call, in_order);
    }
}

#[test]
fn each_end_hears_what_is_wrong_with_certificates() {
    let files = folder("wrong");
    let (cluster, stranger) = (Authority::new("cluster"), Authority::new("stranger"));
    let good = cluster.issue(&files.join("good"), HOST);
    let other = stranger.issue(&files.join("other"), HOST);
    let elsewhere = cluster.issue(&files.join("elsewhere"), "10.1.2.3");
    let expired = cluster.issue_expired(&files.join("expired"), HOST);
    // A certificate of a stranger, and yet the cluster's authority: it accepts the peer, and the peer refuses it.
    let pretends = TlsFiles { ca: good.ca.clone(), ..other.clone() };
    for (server, client, reason) in [
        (Some(&good), None, "it speaks TLS, expected plaintext"),
        (None, Some(&good), "it does not speak TLS"),
        (Some(&good), Some(&other), "its certificate is not accepted: UnknownIssuer"),
        (Some(&good), Some(&pretends), "it does not accept this process's certificate"),
        (Some(&expired), Some(&good), "its certificate is not accepted: certificate expired"),
        (Some(&good), Some(&expired), "it does not accept this process's certificate: CertificateExpired"),
        (Some(&elsewhere), Some(&good), "not valid for name"),
    ] {
        assert_unauthenticated(&refused(server.cloned(), client.cloned()), reason);
    }
}

#[test]
fn the_name_to_expect_can_be_another_than_the_host_that_is_dialled() {
    let (authority, files) = (Authority::new("cluster"), folder("named"));
    let server = authority.issue(&files.join("server"), "ulysses.internal");
    let client = authority.issue(&files.join("client"), HOST);
    let named = TlsFiles { server_name: Some("ulysses.internal".into()), ..client.clone() };
    let rank = rank_with(0, Some(server));
    owner_with(0, Some(named)).connect(&rank).unwrap();
    assert_unauthenticated(&owner_with(1, Some(client)).connect(&rank).unwrap_err(), "ulysses.internal");
}

#[test]
fn changed_files_serve_new_connections_and_old_connections_go_on() {
    let files = folder("changed");
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let at = |name: &str| files.join(name);
    let ranks =
        vec![rank_with(0, Some(before.issue(&at("0"), HOST))), rank_with(1, Some(before.issue(&at("1"), HOST)))];
    let (ranks, owners) = connect_all(ranks, vec![owner_with(0, Some(before.issue(&at("owner"), HOST)))]);
    let shape = Shape { ranks: 2, heads: 3, rows: vec![100], row_bytes: 16 };
    run(&shape, (&ranks, &owners), 0, in_order);

    // Half a change: a key that is not the certificate's. Those of before serve on.
    let old = before.issue(&at("old"), HOST);
    std::fs::copy(&old.key, at("0").join("key.pem")).unwrap();
    owner_with(1, Some(old.clone())).connect(&ranks[0]).unwrap();

    after.issue(&at("0"), HOST);
    let new = after.issue(&at("new"), HOST);
    owner_with(2, Some(new)).connect(&ranks[0]).unwrap();
    assert_unauthenticated(&owner_with(3, Some(old)).connect(&ranks[0]).unwrap_err(), "UnknownIssuer");
    run(&shape, (&ranks, &owners), 1, in_order);
    // And the rank dials with what it accepts with.
    let error = ranks[0].connect_to("again", &ranks[1].address(), DEADLINE).unwrap_err();
    assert_unauthenticated(&error, "UnknownIssuer");
}

#[test]
#[cfg(target_os = "linux")]
fn plaintext_beyond_loopback_is_refused_unless_it_is_meant() {
    let listening = rank_with(0, None);
    // Linux takes it for this host. It is no loopback address, and so stands for those beyond.
    let address = listening.address().replace(HOST, "0.0.0.0");
    let error = owner_with(0, None).connect_to("to rank 0", &address, DEADLINE).unwrap_err();
    assert_eq!(error.code, Code::Config);
    assert!(error.message.contains("plaintext beyond loopback, expected TLS, or insecure"), "{error}");

    let options = PlaneOptions { insecure: true, ..Process::owner_options(owner(1)) };
    Process::open(owner(1), options).connect_to("to rank 0", &address, DEADLINE).unwrap();

    let (authority, files) = (Authority::new("cluster"), folder("beyond"));
    let listening = rank_with(1, Some(authority.issue(&files.join("rank"), HOST)));
    let tls = TlsFiles { server_name: Some(HOST.into()), ..authority.issue(&files.join("owner"), HOST) };
    let address = listening.address().replace(HOST, "0.0.0.0");
    owner_with(2, Some(tls)).connect_to("to rank 1", &address, DEADLINE).unwrap();
    // A unix socket goes no further than this host.
    let options = PlaneOptions { listen: Some("0.0.0.0:0".into()), ..Process::rank_options(2) };
    let listening = Process::open(rank(2), PlaneOptions { transport: Transport::Unix, ..options });
    Process::owner_by_unix_socket(3).connect(&listening).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn unix_sockets_need_no_certificates() {
    let (authority, files) = (Authority::new("cluster"), folder("unix"));
    let tls = Some(authority.issue(&files, HOST));
    let by_unix = |index| PlaneOptions { transport: Transport::Unix, tls: tls.clone(), ..Process::rank_options(index) };
    let (from, to) = (Process::open(rank(0), by_unix(0)), Process::open(rank(1), by_unix(1)));
    from.connect(&to).unwrap();
    assert_eq!(from.plane.counters().unix_connections, 1);
    // A plane that allows no unix socket comes by TCP, with a certificate.
    rank_with(2, tls).connect_to(&link(rank(1)), &to.address(), DEADLINE).unwrap();
    assert_eq!(to.plane.counters().unix_connections, 1);
}

#[test]
fn files_that_cannot_be_used_are_named_when_the_plane_opens() {
    let (authority, files) = (Authority::new("cluster"), folder("unusable"));
    let good = authority.issue(&files.join("good"), HOST);
    let other = authority.issue(&files.join("other"), HOST);
    let open = |tls: TlsFiles| {
        let options = PlaneOptions { tls: Some(tls), ..PlaneOptions::new("a test") };
        Plane::open(options, RegionPool::new(0), Box::new(|_| ())).err().expect("it does not open")
    };
    let missing = Path::new("nowhere.pem").to_path_buf();
    for (tls, named) in [
        (TlsFiles { cert: missing.clone(), ..good.clone() }, "nowhere.pem"),
        (TlsFiles { ca: missing, ..good.clone() }, "nowhere.pem"),
        (TlsFiles { ca: good.key.clone(), ..good.clone() }, "no certificate in it, expected PEM"),
        (TlsFiles { key: good.cert.clone(), ..good.clone() }, "cert.pem"),
        (TlsFiles { key: other.key, ..good }, "cert.pem"),
    ] {
        let error = open(tls);
        assert_eq!(error.code, Code::Config);
        assert!(error.message.contains(named), "{error}, expected {named}");
    }
}
