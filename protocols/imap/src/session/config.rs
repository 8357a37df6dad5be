//! The settings of a session. Every limit of it is here.

use crate::codec::framer::Limits;
use std::time::Duration;

/// The largest message of APPEND in bytes, unless it is set otherwise.
const APPEND_BYTES_MAX: u64 = 50 * 1024 * 1024;

/// What an operator may set. The adapter fills it from the configuration of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name that the greeting gives.
    pub host_name: String,
    /// What ID answers: fields and values (RFC 2971 §3.3).
    pub id: Vec<(String, String)>,
    /// STARTTLS can be had.
    pub starttls: bool,
    /// A password may be sent without TLS.
    pub login_without_tls: bool,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a client may be silent after that; at least 30 minutes (RFC 9051 §5.4).
    pub idle_timeout: Duration,
    /// How often something is said during IDLE, so that connections are not forgotten on the way.
    pub idle_keepalive: Duration,
    /// Failed logins after which the session ends.
    pub login_failures_max: u32,
    /// Commands that are no commands after which the session ends.
    pub bad_commands_max: u32,
    /// The same before the login.
    pub bad_commands_max_before_login: u32,
    /// What a client may send before the login.
    pub limits_before_login: Limits,
    /// What it may send after it; `append` is lowered to what the account may.
    pub limits: Limits,
    /// Messages in one [`super::Ask::Fetch`].
    pub fetch_batch_messages: u32,
    /// Bytes of messages in one answer of the engine.
    pub fetch_budget_bytes: u64,
    /// Bytes of one part that BINARY decodes; larger ones are refused with UNKNOWN-CTE.
    pub decode_bytes_max: u64,
    /// A session that has so many bytes to send waits for the peer before it asks for more.
    pub unsent_bytes_max: usize,
    /// Messages in one [`super::Ask::Store`].
    pub store_batch_messages: u32,
    /// Changed messages in one answer to [`super::Ask::Changes`], and EXPUNGE lines in one step.
    pub changes_batch: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            host_name: "localhost".to_owned(),
            id: vec![("name".to_owned(), "Estafette".to_owned())],
            starttls: true,
            login_without_tls: false,
            login_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(30 * 60),
            idle_keepalive: Duration::from_secs(4 * 60),
            login_failures_max: 3,
            bad_commands_max: 20,
            bad_commands_max_before_login: 5,
            limits_before_login: Limits::BEFORE_LOGIN,
            limits: Limits::after_login(APPEND_BYTES_MAX),
            fetch_batch_messages: 500,
            fetch_budget_bytes: 1024 * 1024,
            decode_bytes_max: 64 * 1024 * 1024,
            unsent_bytes_max: 256 * 1024,
            store_batch_messages: 2_000,
            changes_batch: 2_000,
        }
    }
}
