//! Where each service listens.

use super::ConfigError;
use estafette_types::Networks;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address to listen on: `*:25` (all addresses), `127.0.0.1:25`, `[::1]:25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Endpoint {
    /// `None` for all addresses, IPv4 and IPv6.
    pub(crate) address: Option<IpAddr>,
    /// 0 for any free port.
    pub(crate) port: u16,
}

impl TryFrom<String> for Endpoint {
    type Error = String;
    fn try_from(text: String) -> Result<Endpoint, String> {
        if let Some(port) = text.strip_prefix("*:").and_then(|port| port.parse().ok()) {
            return Ok(Endpoint { address: None, port });
        }
        match text.parse::<SocketAddr>() {
            Ok(socket) => Ok(Endpoint { address: Some(socket.ip()), port: socket.port() }),
            Err(_) => Err(format!(
                "'{text}' is no address to listen on; write '*:25', '192.0.2.1:25' or '[::1]:25'"
            )),
        }
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        match endpoint.address {
            None => format!("*:{}", endpoint.port),
            Some(address) => SocketAddr::new(address, endpoint.port).to_string(),
        }
    }
}

impl Endpoint {
    const fn all(port: u16) -> Endpoint {
        Endpoint { address: None, port }
    }

    const fn loopback(port: u16) -> Endpoint {
        Endpoint { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port }
    }

    /// The socket addresses to try, in order; the first that can be bound is taken.
    pub(crate) fn candidates(self) -> Vec<SocketAddr> {
        match self.address {
            Some(address) => vec![SocketAddr::new(address, self.port)],
            None => vec![
                SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), self.port),
                SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port),
            ],
        }
    }
}

const OFFSET_TOO_LARGE: ConfigError =
    ConfigError::Range { key: "--port-offset", wanted: "so small that all ports stay below 65536" };

/// Where each service listens; an empty list turns it off. And for whom others may speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Listen {
    /// Mail from other servers, STARTTLS.
    pub(crate) smtp: Vec<Endpoint>,
    /// Mail from our users, STARTTLS.
    pub(crate) submission: Vec<Endpoint>,
    /// Mail from our users, TLS.
    pub(crate) submissions: Vec<Endpoint>,
    /// Mail from a server in front, without a login: keep it to trusted addresses.
    pub(crate) lmtp: Vec<Endpoint>,
    /// IMAP, STARTTLS.
    pub(crate) imap: Vec<Endpoint>,
    /// IMAP, TLS.
    pub(crate) imaps: Vec<Endpoint>,
    /// POP3, STLS.
    pub pop3: Vec<Endpoint>,
    /// POP3, TLS.
    pub pop3s: Vec<Endpoint>,
    /// The HTTP API and `/metrics`, without TLS: keep it to trusted addresses.
    pub(crate) http: Vec<Endpoint>,
    /// Balancers in front: a connection from there, but to `http`, has to begin with a header of the PROXY
    /// protocol, version 2, and is taken for the client's that it names. From elsewhere none is taken.
    pub(crate) proxy_from: Networks,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            smtp: vec![Endpoint::all(25)],
            submission: vec![Endpoint::all(587)],
            submissions: vec![Endpoint::all(465)],
            lmtp: vec![Endpoint::loopback(24)],
            imap: vec![Endpoint::all(143)],
            imaps: vec![Endpoint::all(993)],
            pop3: vec![Endpoint::all(110)],
            pop3s: vec![Endpoint::all(995)],
            http: vec![Endpoint::loopback(80)],
            proxy_from: Networks::default(),
        }
    }
}

impl Listen {
    fn each(&mut self) -> [&mut Vec<Endpoint>; 9] {
        [
            &mut self.smtp,
            &mut self.submission,
            &mut self.submissions,
            &mut self.lmtp,
            &mut self.imap,
            &mut self.imaps,
            &mut self.pop3,
            &mut self.pop3s,
            &mut self.http,
        ]
    }

    /// Moves the ports of the services that stand at their default by `offset`; an error when one of
    /// them would be no port any more.
    pub(crate) fn shift_default_ports(&mut self, offset: u16) -> Result<(), ConfigError> {
        let mut defaults = Listen::default();
        for (endpoints, default) in self.each().into_iter().zip(defaults.each()) {
            if endpoints == default {
                for endpoint in endpoints {
                    endpoint.port = endpoint.port.checked_add(offset).ok_or(OFFSET_TOO_LARGE)?;
                }
            }
        }
        Ok(())
    }

    /// The single addresses that services listen on: clients may use them as names.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let all = [
            &self.submission,
            &self.submissions,
            &self.smtp,
            &self.imap,
            &self.imaps,
            &self.pop3,
            &self.pop3s,
        ];
        let named = all.into_iter().flatten().filter_map(|endpoint| endpoint.address);
        named.filter(|address| !address.is_unspecified()).collect()
    }

    /// Keeps to this machine whatever listens on all addresses.
    pub(crate) fn keep_to_loopback(&mut self) {
        for endpoints in self.each() {
            for endpoint in endpoints {
                endpoint.address.get_or_insert(IpAddr::V4(Ipv4Addr::LOCALHOST));
            }
        }
    }
}
