//! The limits of a mesh, by name.

use crate::Lane;
use crate::hello::{Limits, VERSIONS, Versions};
use std::time::Duration;

/// The limits of one lane. What both sides of a connection must keep to is the lower of what each has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Bytes of one request or answer.
    pub frame_max_bytes: u32,
    /// Requests under way on a connection; who has more waits.
    pub requests_max: u32,
    /// Bytes of requests under way on a connection; who has more waits. One request may be larger.
    pub under_way_max_bytes: u32,
    /// How long a call may take, with all its waits.
    pub call_timeout_ms: u64,
    /// How often the dialling side asks for a sign of life.
    pub keepalive_ms: u64,
    /// A connection without a sign of life for so long is closed.
    pub silent_max_ms: u64,
}

/// The limits of a mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The versions of the protocol that this node says it speaks.
    pub versions: Versions,
    /// Of [`Lane::Urgent`].
    pub urgent: LaneSettings,
    /// Of [`Lane::Entries`].
    pub entries: LaneSettings,
    /// Of [`Lane::Bulk`].
    pub bulk: LaneSettings,
    /// How long it may take to connect: address, TCP, TLS and hello together, on either side.
    pub connect_timeout_ms: u64,
    /// The pause after the first failure to connect. It doubles with each.
    pub redial_min_ms: u64,
    /// The longest pause between two attempts.
    pub redial_max_ms: u64,
    /// Connections at once that have not said yet who they are; past it the oldest goes.
    pub handshakes_max: usize,
    /// Requests to join at once; past it they are refused.
    pub joins_max: usize,
    /// Bytes of a request to join, and of its answer.
    pub join_max_bytes: u32,
    /// How long the answer to a request to join may take.
    pub join_timeout_ms: u64,
    /// How long a connection that ends may take to say why.
    pub goodbye_ms: u64,
    /// Streams at once that this node has opened, and as many that others have opened to it.
    pub streams_max: usize,
    /// Streams that are being opened to one peer at once; who wants more waits.
    pub stream_dials_max: usize,
    /// Bytes of the head of a stream, and of the answer to it.
    pub stream_head_max_bytes: u32,
    /// How long the answer to the head of a stream may take.
    pub stream_answer_timeout_ms: u64,
    /// Streams of a peer that could not be spoken to for so long are ended.
    pub stream_silent_max_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        const MIB: u32 = 1024 * 1024;
        let lane = LaneSettings {
            frame_max_bytes: 32 * MIB,
            requests_max: 1024,
            under_way_max_bytes: 64 * MIB,
            call_timeout_ms: 10_000,
            keepalive_ms: 1000,
            silent_max_ms: 4000,
        };
        Settings {
            versions: VERSIONS,
            urgent: LaneSettings {
                frame_max_bytes: MIB,
                requests_max: 4096,
                under_way_max_bytes: 8 * MIB,
                call_timeout_ms: 2000,
                keepalive_ms: 500,
                silent_max_ms: 1800,
            },
            entries: lane,
            bulk: LaneSettings { requests_max: 64, call_timeout_ms: 60_000, ..lane },
            connect_timeout_ms: 2000,
            redial_min_ms: 50,
            redial_max_ms: 2000,
            handshakes_max: 256,
            joins_max: 4,
            join_max_bytes: 64 * 1024,
            join_timeout_ms: 30_000,
            goodbye_ms: 250,
            streams_max: 50_000,
            stream_dials_max: 16,
            stream_head_max_bytes: 16 * 1024,
            stream_answer_timeout_ms: 5000,
            stream_silent_max_ms: 10_000,
        }
    }
}

impl Settings {
    /// Those of a lane.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> &LaneSettings {
        match lane {
            Lane::Urgent => &self.urgent,
            Lane::Entries => &self.entries,
            Lane::Bulk => &self.bulk,
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(crate) fn stream_answer_timeout(&self) -> Duration {
        Duration::from_millis(self.stream_answer_timeout_ms)
    }

    pub(crate) fn stream_head_max(&self) -> usize {
        usize::try_from(self.stream_head_max_bytes).unwrap_or(usize::MAX)
    }

    pub(crate) fn goodbye(&self) -> Duration {
        Duration::from_millis(self.goodbye_ms)
    }
}

impl LaneSettings {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            frame_max_bytes: self.frame_max_bytes,
            requests_max: self.requests_max,
            under_way_max_bytes: self.under_way_max_bytes,
        }
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.call_timeout_ms)
    }
}
