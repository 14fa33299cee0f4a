//! Settings of a plane. Defaults are what measured best over loopback TCP.

use std::path::PathBuf;
use std::time::Duration;

/// Enough for the largest message over 2 MiB a second, and for those that are sent here over 20 KiB.
pub const SLOW_PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// Each allows those before it too: what both ends allow is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    /// Unix sockets between processes of one host and user.
    Unix,
    /// And memory that they read in place.
    Shared,
}

#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// `host:port` to accept calls on (port 0: any free one); none for a process that only dials.
    pub listen: Option<String>,
    /// What links to peers of this host and user are made of, where they allow it too.
    pub transport: Transport,
    /// Size of the memory that peers of this host read in place, with `Transport::Shared`; 0 for none. The first plane of a pool
    /// decides.
    pub shared_bytes: usize,
    /// Most bytes that a peer has been told to read in place and has not read, per call.
    pub shared_window_bytes: usize,
    /// Mutual TLS on every TCP connection, accepted and dialled; none: plaintext. Unix sockets have the kernel's word instead.
    pub tls: Option<TlsFiles>,
    /// TCP in plaintext may leave this host.
    pub insecure: bool,
    /// Who this process is, as peers read it in refusals: `rank 2`, `owner 0`.
    pub description: String,
    /// Most payload bytes of one slice message.
    pub chunk_bytes: usize,
    /// HTTP/2 frame size. As large as a chunk: 16 KiB frames double the CPU time.
    pub frame_bytes: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// How long a peer may be silent before its connection is lost: after half of it, it is asked for a sign of life.
    pub silent_peer_timeout: Duration,
    /// Largest gRPC message that is read.
    pub message_limit_bytes: usize,
    /// Most connections accepted at a time.
    pub connection_limit: usize,
    /// Most calls at a time on one accepted connection.
    pub stream_limit: u32,
    /// How long a peer may take for its part of a handshake, or for a message that it has begun, before it is given up; and how
    /// long an accepted connection may be without any call.
    pub slow_peer_timeout: Duration,
    /// How long a sequence owner's Pull call waits for its own process to register a step whose rows arrive already.
    pub early_slice_timeout: Duration,
}

impl PlaneOptions {
    pub fn new(description: impl Into<String>) -> PlaneOptions {
        PlaneOptions {
            listen: None,
            transport: Transport::Shared,
            shared_bytes: 256 << 20,
            shared_window_bytes: 4 << 20,
            tls: None,
            insecure: false,
            description: description.into(),
            chunk_bytes: 512 << 10,
            frame_bytes: 512 << 10,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 2 << 20,
            silent_peer_timeout: Duration::from_secs(20),
            message_limit_bytes: 64 << 20,
            connection_limit: 4096,
            stream_limit: 64,
            slow_peer_timeout: SLOW_PEER_TIMEOUT,
            early_slice_timeout: Duration::from_secs(5),
        }
    }
}

/// PEM files, looked at again for every new connection: those that changed are read again.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// This process's certificate chain, shown to peers whoever dials.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Authorities whose certificates are accepted.
    pub ca: PathBuf,
    /// The name that certificates of dialled peers are to have; none: the host that is dialled.
    pub server_name: Option<String>,
}
