//! What a plane reports to its owner.

use crate::names::StepKey;

/// Reported from the plane's own thread, never from inside a call. Events of a step that was closed in the meantime may
/// still arrive and are to be ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All rows of a granule are placed.
    Granule { key: StepKey, granule: u32 },
    /// Every segment of every receive is placed (at once when there are none).
    Received { key: StepKey },
    /// Everything sent is acknowledged by its final destination (at once when `send_bytes` is 0).
    Sent { key: StepKey },
    /// All `relay_bytes` that this process forwards for others are acknowledged, and the acks passed back; not when it is 0.
    Relayed { key: StepKey },
    /// The step cannot complete; nothing more is reported for it.
    /// `code` is a row of the error table: one of `Code`, or what the refusing peer sent.
    Failed { key: StepKey, code: String, message: String, peer: String },
    /// A link broke or ended; what was queued on it is dropped.
    LinkLost { link: String, reason: String },
}

/// Hears every event, in order, on the plane's thread: it must not block.
pub type EventSink = Box<dyn Fn(Event) + Send + Sync>;
