//! Settings of a client.

use crate::Secret;
use std::time::Duration;

/// When to use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// Not at all.
    Never,
    /// By STARTTLS where it is offered.
    Opportunistic,
    /// By STARTTLS, or not at all a session.
    Required,
    /// From the first byte; the driver gives `Secured` before `Connected`.
    Implicit,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How long the server may take (RFC 5321 §4.5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimes {
    /// For the greeting.
    pub greeting: Duration,
    /// For a reply to a command.
    pub command: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// To take a block of the message.
    pub block: Duration,
    /// For the reply to a whole message. Long: a client that gives up makes doubles.
    pub message: Duration,
    /// For the TLS handshake.
    pub tls: Duration,
}

impl Default for ClientTimes {
    fn default() -> ClientTimes {
        ClientTimes {
            greeting: Duration::from_secs(300),
            command: Duration::from_secs(300),
            data: Duration::from_secs(120),
            block: Duration::from_secs(180),
            message: Duration::from_secs(600),
            tls: Duration::from_secs(60),
        }
    }
}

/// Settings of a client, shared by its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// LMTP: LHLO, and a reply for each recipient (RFC 2033).
    pub lmtp: bool,
    /// The name said in EHLO.
    pub hostname: String,
    /// When to use TLS.
    pub tls: TlsPolicy,
    /// Who to log in as.
    pub login: Option<Login>,
    /// The login may be sent without TLS.
    pub login_without_tls: bool,
    /// Send by BDAT wherever it is offered, not only what needs it.
    pub prefer_chunking: bool,
    /// Time-outs.
    pub times: ClientTimes,
}

impl ClientConfig {
    /// The defaults: TLS where it is offered, no login.
    pub fn new(hostname: impl Into<String>) -> ClientConfig {
        ClientConfig {
            lmtp: false,
            hostname: hostname.into(),
            tls: TlsPolicy::Opportunistic,
            login: None,
            login_without_tls: false,
            prefer_chunking: false,
            times: ClientTimes::default(),
        }
    }
}
