//! The metrics of a mesh, by peer and lane. Looked up once for each connection or link.

use crate::streams::Side;
use crate::{Lane, NodeName};
use metrics::{Counter, Gauge};

/// What goes over connections with a peer, of both directions.
pub(crate) struct Traffic {
    received_frames: Counter,
    received_bytes: Counter,
    sent_frames: Counter,
    sent_bytes: Counter,
}

impl Traffic {
    pub(crate) fn new(peer: NodeName, lane: Lane) -> Traffic {
        let labels = [("peer", peer.0.to_string()), ("lane", lane.label().to_owned())];
        Traffic {
            received_frames: metrics::counter!("estafette_mesh_received_frames_total", &labels),
            received_bytes: metrics::counter!("estafette_mesh_received_bytes_total", &labels),
            sent_frames: metrics::counter!("estafette_mesh_sent_frames_total", &labels),
            sent_bytes: metrics::counter!("estafette_mesh_sent_bytes_total", &labels),
        }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_frames.increment(1);
        self.received_bytes.increment(bytes as u64);
    }

    pub(crate) fn sent(&self, frames: usize, bytes: usize) {
        self.sent_frames.increment(frames as u64);
        self.sent_bytes.increment(bytes as u64);
    }
}

/// What calls to a peer come to.
pub(crate) struct CallMeters {
    pub(crate) connected: Gauge,
    pub(crate) calls: Counter,
    pub(crate) not_sent: Counter,
    pub(crate) no_answer: Counter,
}

impl CallMeters {
    pub(crate) fn new(peer: NodeName, lane: Lane) -> CallMeters {
        let (peer, lane) = (peer.0.to_string(), lane.label());
        let failed = |why: &'static str| {
            let labels = [("peer", peer.clone()), ("lane", lane.to_owned()), ("why", why.to_owned())];
            metrics::counter!("estafette_mesh_failed_calls_total", &labels)
        };
        let labels = [("peer", peer.clone()), ("lane", lane.to_owned())];
        CallMeters {
            connected: metrics::gauge!("estafette_mesh_connected", &labels),
            calls: metrics::counter!("estafette_mesh_calls_total", &labels),
            not_sent: failed("not_sent"),
            no_answer: failed("no_answer"),
        }
    }
}

/// What goes over a stream, which is counted as open until this is dropped.
pub(crate) struct StreamMeters {
    open: Gauge,
    received_bytes: Counter,
    sent_bytes: Counter,
}

impl StreamMeters {
    pub(crate) fn new(peer: NodeName, side: Side) -> StreamMeters {
        let peer = peer.0.to_string();
        let opened_by = match side {
            Side::Dialled => "this_node",
            Side::Accepted => "the_peer",
        };
        let labels = [("peer", peer.clone()), ("opened_by", opened_by.to_owned())];
        let open = metrics::gauge!("estafette_mesh_streams", &labels);
        open.increment(1.0);
        let labels = [("peer", peer), ("lane", "stream".to_owned())];
        StreamMeters {
            open,
            received_bytes: metrics::counter!("estafette_mesh_received_bytes_total", &labels),
            sent_bytes: metrics::counter!("estafette_mesh_sent_bytes_total", &labels),
        }
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.increment(bytes as u64);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.increment(bytes as u64);
    }
}

impl Drop for StreamMeters {
    fn drop(&mut self) {
        self.open.decrement(1.0);
    }
}

/// A connection that was not taken.
pub(crate) fn refused(why: &'static str) {
    metrics::counter!("estafette_mesh_refused_total", "why" => why).increment(1);
}
