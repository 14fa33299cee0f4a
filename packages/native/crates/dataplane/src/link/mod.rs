//! Links: connections to peers and the calls on them, in both directions.

mod acks;
mod body;
mod dial;
mod frames;
mod inlet;
mod job_queue;
mod lent;
mod mailbox;
mod outlet;
mod party;
mod serve;
mod sharing;
mod socket;
mod status;
mod table;

pub(crate) use acks::AckSender;
pub(crate) use body::CallBody;
pub(crate) use dial::{Dial, Done, Kind, dial};
pub(crate) use outlet::{Outlet, Queued, Slice};
pub(crate) use party::party_at;
pub(crate) use serve::serve;
pub(crate) use sharing::Sharing;
pub(crate) use socket::Listener;
pub(crate) use status::Status;
pub(crate) use table::{CallEnd, CallKind, Links};

const PUSH_PATH: &str = "/ulysses.v1.TensorPlaneService/Push";
const PULL_PATH: &str = "/ulysses.v1.TensorPlaneService/Pull";
/// Request metadata that says who dials.
const PARTY_KEY: &str = "ulysses-party";
