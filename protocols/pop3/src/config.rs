//! The settings and limits of sessions.

use std::time::Duration;

/// The longest command line, with its line end. RFC 2449 §4 asks for 255; names and passwords in UTF-8
/// take more.
pub(crate) const COMMAND_LINE_MAX_BYTES: usize = 1024;
/// The longest line of a SASL exchange, with its line end (RFC 5034 §4: base64 of a PLAIN message).
pub(crate) const SASL_LINE_MAX_BYTES: usize = 12_288;
/// How much of a message is asked for at once.
pub(crate) const READ_RANGE_BYTES: u64 = 256 * 1024;
/// How much of a listing is made at once, and how much may wait to be sent before more commands are
/// carried out.
pub(crate) const OUTPUT_BATCH_BYTES: usize = 16 * 1024;
/// Pipelined commands that a session holds while it is busy.
pub(crate) const PIPELINE_MAX_BYTES: usize = 64 * 1024;

/// The settings of the sessions of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the greeting says after `+OK `; no `<…>` in it, for that would offer APOP.
    pub greeting: String,
    /// What CAPA tells as IMPLEMENTATION; one word or more, without the version before login.
    pub implementation: String,
    /// STLS can be had.
    pub offer_stls: bool,
    /// A password is taken only over TLS.
    pub require_tls_for_auth: bool,
    /// The time for all until the login.
    pub login_timeout: Duration,
    /// The time without a command after the login; RFC 1939 §3 asks for 10 minutes at least.
    pub idle_timeout: Duration,
    /// After so many failed logins the session ends.
    pub auth_failures_max: u32,
    /// After so many malformed commands the session ends.
    pub errors_max: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            greeting: "POP3 ready".to_owned(),
            implementation: "Estafette".to_owned(),
            offer_stls: true,
            require_tls_for_auth: true,
            login_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            auth_failures_max: 3,
            errors_max: 20,
        }
    }
}
