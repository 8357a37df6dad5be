//! `[cluster]`: the settings of a node among others.

use super::Endpoint;
use estafette_delivery::Patience;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Several nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ClusterConfig {
    /// Where other nodes reach this one, once it belongs to a cluster.
    pub(crate) listen: Endpoint,
    /// Where they are told to, as `host:port`; empty for `listen`.
    pub(crate) advertise: String,
    /// What it shares its fate with: a rack, a room. Replicas of a shard are spread over labels.
    pub(crate) label: String,
    /// Bytes a second of the bodies that a new or returned replica fetches at most; rows and entries come as fast as
    /// they are taken.
    pub(crate) move_bytes_per_second: u64,
    /// How long a client waits at most until this node is known to have all that other nodes told theirs; then it is
    /// told to try again later.
    pub(crate) fresh_timeout_ms: u64,
    /// How long a change waits at most for a leader to take it; then the client is told to try again later.
    pub(crate) write_timeout_ms: u64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            listen: Endpoint { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: 7400 },
            advertise: String::new(),
            label: String::new(),
            move_bytes_per_second: 50 << 20,
            fresh_timeout_ms: 2_000,
            write_timeout_ms: 8_000,
        }
    }
}

impl ClusterConfig {
    /// As the groups take it.
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            leader: Duration::from_millis(self.write_timeout_ms),
            fresh: Duration::from_millis(self.fresh_timeout_ms),
            ..Patience::default()
        }
    }

    /// What other nodes are told; the error is an address that stands for all of a host, where nobody can connect.
    pub(crate) fn advertised(&self) -> Result<String, String> {
        let address =
            if self.advertise.is_empty() { String::from(self.listen) } else { self.advertise.clone() };
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let stands_for_all = host == "*" || ip.is_ok_and(|ip| ip.to_canonical().is_unspecified());
        if stands_for_all { Err(address) } else { Ok(address) }
    }
}
