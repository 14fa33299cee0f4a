//! Settings of a plane. Defaults are what measured best over loopback TCP.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct PlaneOptions {
    /// `host:port` to accept calls on (port 0: any free one); none for a process that only dials.
    pub listen: Option<String>,
    /// Whether peers of this host and user are reached by unix socket instead of TCP, where they allow it too.
    pub same_host: bool,
    /// Who this process is, as peers read it in refusals: `rank 2`, `owner 0`.
    pub description: String,
    /// Most payload bytes of one slice message.
    pub chunk_bytes: usize,
    /// HTTP/2 frame size. As large as a chunk: 16 KiB frames double the CPU time.
    pub frame_bytes: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// A connection that was silent for so long is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// And is lost when none came after so long.
    pub keepalive_timeout: Duration,
    /// Largest gRPC message that is read.
    pub message_limit_bytes: usize,
    /// Most connections accepted at a time.
    pub connection_limit: usize,
    /// Most calls at a time on one accepted connection.
    pub stream_limit: u32,
    /// An accepted connection without any call for so long is closed.
    pub idle_timeout: Duration,
    /// How long a sequence owner's Pull call waits for its own process to register a step whose rows arrive already.
    pub early_slice_timeout: Duration,
}

impl PlaneOptions {
    pub fn new(description: impl Into<String>) -> PlaneOptions {
        PlaneOptions {
            listen: None,
            same_host: true,
            description: description.into(),
            chunk_bytes: 512 << 10,
            frame_bytes: 512 << 10,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 2 << 20,
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            message_limit_bytes: 64 << 20,
            connection_limit: 4096,
            stream_limit: 64,
            idle_timeout: Duration::from_secs(30),
            early_slice_timeout: Duration::from_secs(5),
        }
    }
}
