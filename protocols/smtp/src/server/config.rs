//! Settings of a listener. Every limit has its name and default here.

use crate::codec::BodyLimits;
use std::time::Duration;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail exchange: anyone may send to our recipients (RFC 5321).
    Mx,
    /// Submission: whoever sends must have logged in (RFC 6409).
    Submission,
    /// Local delivery from another MTA: one reply per recipient (RFC 2033).
    Lmtp,
}

/// How TLS is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all.
    Off,
    /// By STARTTLS (RFC 3207).
    StartTls,
    /// From the first byte (RFC 8314).
    Implicit,
}

/// Numbers that bound a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a command line with its CR LF. RFC 5321 §4.5.3.1.4 has 512; parameters need more.
    /// AUTH may take [`AUTH_LINE_MAX`] in any case.
    pub command_line: usize,
    /// Bytes, header and line lengths of a message.
    pub body: BodyLimits,
    /// Bytes of a message from which on it is handed over in parts while it comes ([`super::Ask::Part`]). One that
    /// was declared to be as large is so from its first [`PART_BYTES`].
    pub part_from: usize,
    /// Recipients of one message; told as RCPTMAX (RFC 9422).
    pub recipients: usize,
    /// Messages of one session; told as MAILMAX (RFC 9422).
    pub mails: u32,
    /// Malformed, unknown or misplaced commands until 421.
    pub bad_commands: u32,
    /// Commands that do nothing for a message (NOOP, RSET, HELP, VRFY, EHLO …) until 421; counted
    /// anew with each message taken.
    pub idle_commands: u32,
    /// Failed logins until 421.
    pub auth_failures: u32,
}

/// Bytes of a part, about.
pub const PART_BYTES: usize = 256 * 1024;

/// The longest line of AUTH with its CR LF, in bytes (RFC 4954 §4).
pub const AUTH_LINE_MAX: usize = 12_288;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            command_line: 2048,
            body: BodyLimits {
                size: 50 * 1024 * 1024,
                header: 1024 * 1024,
                line: 1024 * 1024,
                swallow: 16 * 1024 * 1024,
                allow_nul: false,
            },
            part_from: 1024 * 1024,
            recipients: 1000,
            mails: 10_000,
            bad_commands: 20,
            idle_commands: 100,
            auth_failures: 3,
        }
    }
}

/// How long the peer may take (RFC 5321 §4.5.3.2.7 asks for at least 5 minutes per command).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For a whole command; a byte now and then does not prolong it.
    pub command: Duration,
    /// For a response within AUTH.
    pub auth: Duration,
    /// For the next bytes of a message.
    pub data: Duration,
    /// Bytes a second with which a message has to come on the whole, so that nobody holds a session
    /// for days by a byte now and then; `data` comes on top.
    pub data_rate_min: u32,
    /// For the TLS handshake.
    pub tls: Duration,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            command: Duration::from_secs(300),
            auth: Duration::from_secs(60),
            data: Duration::from_secs(180),
            data_rate_min: 512,
            tls: Duration::from_secs(30),
        }
    }
}

/// Settings of a listener, shared by its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What the listener is for.
    pub kind: Kind,
    /// How TLS is to be had.
    pub tls: TlsMode,
    /// AUTH is offered and taken over TLS only.
    pub require_tls_for_auth: bool,
    /// No mail is taken without TLS.
    pub require_tls: bool,
    /// REQUIRETLS is offered over TLS (RFC 8689); the engine then has to keep to it.
    pub offer_requiretls: bool,
    /// The name of this server in greetings and replies.
    pub hostname: String,
    /// Bounds.
    pub limits: Limits,
    /// Time-outs.
    pub times: Times,
}

impl ServerConfig {
    /// The defaults for a kind of listener: STARTTLS offered, AUTH only with TLS.
    pub fn new(kind: Kind, hostname: impl Into<String>) -> ServerConfig {
        ServerConfig {
            kind,
            tls: TlsMode::StartTls,
            require_tls_for_auth: true,
            require_tls: false,
            offer_requiretls: true,
            hostname: hostname.into(),
            limits: Limits::default(),
            times: Times::default(),
        }
    }
}
