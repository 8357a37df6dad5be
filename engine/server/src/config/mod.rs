//! The settings: one TOML file, all of it optional.
//!
//! Every setting has a default here and a comment in `deploy/estafette.example.toml`; a test holds
//! the two together. A key that does not exist is an error that names the nearest one.

mod cluster;
mod error;
mod known;
mod listen;

pub(crate) use cluster::ClusterConfig;
pub(crate) use error::ConfigError;
pub(crate) use listen::{Endpoint, Listen};

use estafette_reactor::{Gate, GateLimits, Io, Wanted};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// This node.
    pub(crate) node: NodeConfig,
    /// Where to listen.
    pub(crate) listen: Listen,
    /// Certificates.
    pub(crate) tls: TlsConfig,
    /// Limits of all sessions.
    pub(crate) sessions: SessionsConfig,
    /// Logins.
    pub(crate) login: LoginConfig,
    /// SMTP, submission and LMTP.
    pub(crate) smtp: SmtpConfig,
    /// IMAP.
    pub(crate) imap: ImapConfig,
    /// POP3.
    pub pop3: Pop3Config,
    /// Where mail for other servers goes.
    pub(crate) relay: RelayConfig,
    /// The queue of mail for other servers.
    pub(crate) queue: QueueConfig,
    /// The database.
    pub(crate) storage: StorageConfig,
    /// Raft.
    pub(crate) raft: RaftConfig,
    /// Several nodes.
    pub(crate) cluster: ClusterConfig,
    /// Logs.
    pub(crate) log: LogConfig,
}

/// Processors that one shard keeps busy, about.
const PROCESSORS_EACH: usize = 4;
/// Shards that a node makes by itself.
const SHARDS_MAX: u32 = 4;

/// This node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct NodeConfig {
    /// The name by which it greets clients; empty for the host's own name.
    pub(crate) hostname: String,
    /// Shards of mailboxes made at the first start, and for each node that joins while this one leads the control group; 0
    /// for one for each four processors, at most four.
    pub(crate) shards: u32,
    /// Threads that serve sessions; 0 for one for each processor.
    pub(crate) threads: usize,
    /// How sessions move their bytes.
    pub(crate) io: IoConfig,
}

/// How sessions move their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IoConfig {
    /// By io_uring where the kernel lets us, else by epoll.
    #[default]
    Auto,
    /// By io_uring or not at all.
    Uring,
    /// By epoll.
    Epoll,
}

impl IoConfig {
    /// As the front end takes it.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            IoConfig::Auto => Wanted::Auto,
            IoConfig::Uring => Wanted::Only(Io::Uring),
            IoConfig::Epoll => Wanted::Only(Io::Epoll),
        }
    }
}

impl NodeConfig {
    /// How many shards are made: as set, or few. More of them share the work of more processors, but what
    /// comes at the same time is then joined into more and smaller log entries.
    pub(crate) fn shards(&self) -> u32 {
        match self.shards {
            0 => {
                u32::try_from(self.threads().div_ceil(PROCESSORS_EACH)).unwrap_or(SHARDS_MAX).min(SHARDS_MAX)
            }
            count => count,
        }
    }

    /// How many threads serve sessions: as set, or one for each processor.
    pub(crate) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}

/// Certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TlsConfig {
    /// Certificates from files, chosen by SNI; the first serves all other names. Empty: a
    /// self-signed one is made at the first start.
    pub(crate) certificates: Vec<CertificateConfig>,
    /// Pause between two looks at whether the files have changed.
    pub(crate) reload_seconds: u64,
}

impl Default for TlsConfig {
    fn default() -> Self {
        TlsConfig { certificates: Vec::new(), reload_seconds: 10 }
    }
}

/// A certificate from files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CertificateConfig {
    /// PEM file with the chain, the server's own certificate first.
    pub(crate) chain: PathBuf,
    /// PEM file with the private key.
    pub(crate) key: PathBuf,
    /// The names that it is for; `*.example.org` stands for one label.
    pub(crate) names: Vec<String>,
}

/// Limits of all sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SessionsConfig {
    /// Of all listeners of this node together.
    pub(crate) max: usize,
    /// From one address, to all nodes of the cluster together.
    pub(crate) max_per_address: usize,
    /// For a TLS handshake.
    pub(crate) handshake_timeout_seconds: u64,
    /// For a client to take what is sent to it.
    pub(crate) write_timeout_seconds: u64,
    /// For sessions to end when the server stops.
    pub(crate) drain_timeout_seconds: u64,
    /// For a client to stop sending after its session has ended.
    pub(crate) linger_seconds: u64,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        SessionsConfig {
            max: 100_000,
            max_per_address: 10_000,
            handshake_timeout_seconds: 20,
            write_timeout_seconds: 300,
            drain_timeout_seconds: 10,
            linger_seconds: 2,
        }
    }
}

impl SessionsConfig {
    /// Counts sessions by these limits.
    pub(crate) fn gate(&self) -> Gate {
        Gate::new(GateLimits { sessions: self.max, sessions_per_address: self.max_per_address })
    }
}

/// Logins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LoginConfig {
    /// Allow passwords on connections without TLS.
    pub(crate) allow_plaintext: bool,
    /// Failed logins from one address within the window after which it is refused.
    pub(crate) failures_per_address: u32,
    /// The window in which failures count.
    pub(crate) failure_window_seconds: u64,
    /// The answer to a failed login is held back by this, doubled with each further failure.
    pub(crate) failure_delay_ms: u64,
    /// At most this.
    pub(crate) failure_delay_max_ms: u64,
    /// Passwords that may be checked at the same time; each check takes the memory below.
    pub(crate) checks_at_once: usize,
    /// How long a password that was right is known without another check; 0 turns that off.
    pub(crate) cache_seconds: u64,
    /// Accounts of which it is known.
    pub(crate) cache_entries: usize,
    /// Memory of one password hash (Argon2id).
    pub argon2_memory_kib: u32,
    /// Passes of one password hash.
    pub argon2_passes: u32,
}

impl Default for LoginConfig {
    fn default() -> Self {
        LoginConfig {
            allow_plaintext: false,
            failures_per_address: 20,
            failure_window_seconds: 900,
            failure_delay_ms: 500,
            failure_delay_max_ms: 8_000,
            checks_at_once: 2,
            cache_seconds: 300,
            cache_entries: 100_000,
            argon2_memory_kib: 19_456,
            argon2_passes: 2,
        }
    }
}

/// SMTP, submission and LMTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SmtpConfig {
    /// The largest message taken on any of the ports.
    pub(crate) message_max_bytes: u64,
    /// Recipients of one message.
    pub(crate) recipients_max: usize,
    /// Messages of one connection.
    pub(crate) messages_max: usize,
    /// The header of a message.
    pub(crate) header_max_bytes: usize,
    /// For a client to send its next command.
    pub(crate) command_timeout_seconds: u64,
    /// For a client to send the next part of a message.
    pub(crate) data_timeout_seconds: u64,
    /// Bytes a second with which a message has to come on the whole; the time-out comes on top.
    pub(crate) data_rate_min: u32,
    /// Hops (Received fields) after which a message is taken to loop.
    pub(crate) hops_max: usize,
    /// `user+detail@` reaches `user@`; the character between, empty for none.
    pub(crate) detail_separator: String,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        SmtpConfig {
            message_max_bytes: 50 * 1024 * 1024,
            recipients_max: 1_000,
            messages_max: 10_000,
            header_max_bytes: 1024 * 1024,
            command_timeout_seconds: 300,
            data_timeout_seconds: 300,
            data_rate_min: 512,
            hops_max: 50,
            detail_separator: "+".to_owned(),
        }
    }
}

/// IMAP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ImapConfig {
    /// The largest message that APPEND takes.
    pub(crate) append_max_bytes: u64,
    /// A line of a command.
    pub(crate) line_max_bytes: usize,
    /// For a client to log in.
    pub(crate) login_timeout_seconds: u64,
    /// For a client to send its next command (RFC 9051 §5.4: at least 30 minutes).
    pub(crate) idle_timeout_seconds: u64,
}

impl Default for ImapConfig {
    fn default() -> Self {
        ImapConfig {
            append_max_bytes: 50 * 1024 * 1024,
            line_max_bytes: 64 * 1024,
            login_timeout_seconds: 60,
            idle_timeout_seconds: 1_860,
        }
    }
}

/// POP3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Pop3Config {
    /// For a client to log in.
    pub(crate) login_timeout_seconds: u64,
    /// For a client to send its next command (RFC 1939 §3: at least 10 minutes).
    pub(crate) idle_timeout_seconds: u64,
}

impl Default for Pop3Config {
    fn default() -> Self {
        Pop3Config { login_timeout_seconds: 60, idle_timeout_seconds: 600 }
    }
}

/// Where mail for other servers goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RelayConfig {
    /// `host:port` of the server that takes it; empty: it waits in the queue.
    pub(crate) host: String,
    /// `none`, `starttls` (if offered), `required` (STARTTLS) or `implicit`.
    pub(crate) tls: RelayTls,
    /// PEM file of the authorities trusted under `required` and `implicit`; empty: any certificate is taken.
    pub(crate) ca: PathBuf,
    /// Login name; empty for none.
    pub(crate) username: String,
    /// Password.
    pub(crate) password: String,
    /// Connections at the same time.
    pub(crate) connections_max: usize,
}

/// How the relay is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RelayTls {
    /// In plain.
    None,
    /// STARTTLS when it is offered.
    #[default]
    Starttls,
    /// STARTTLS, or nothing is sent.
    Required,
    /// TLS from the first byte.
    Implicit,
}

impl Default for RelayConfig {
    fn default() -> Self {
        RelayConfig {
            host: String::new(),
            tls: RelayTls::Starttls,
            ca: PathBuf::new(),
            username: String::new(),
            password: String::new(),
            connections_max: 20,
        }
    }
}

/// The queue of mail for other servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueueConfig {
    /// The pause after a first failed attempt; it doubles with each further one.
    pub(crate) retry_first_seconds: u64,
    /// The longest pause between two attempts.
    pub(crate) retry_max_seconds: u64,
    /// After this a message that could not be sent is returned to its sender.
    pub(crate) lifetime_seconds: u64,
    /// After this the sender is told that the message is late; 0 for never.
    pub(crate) delay_notice_seconds: u64,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            retry_first_seconds: 60,
            retry_max_seconds: 7_200,
            lifetime_seconds: 5 * 86_400,
            delay_notice_seconds: 4 * 3_600,
        }
    }
}

/// Who has found a body by its last name may still be about to name it again: that takes no longer.
pub(crate) const COLLECT_AFTER_SECONDS_MIN: u64 = 5;

/// The database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StorageConfig {
    /// Memory for what was read.
    pub(crate) cache_bytes: usize,
    /// Memory for the structures and envelopes of messages.
    pub(crate) structures_cache_bytes: u64,
    /// Memory for the UIDs of mailboxes.
    pub(crate) uids_cache_bytes: u64,
    /// Memory for the sizes of messages in maildrops.
    pub(crate) maildrops_cache_bytes: u64,
    /// With less room than this on the disk no new mail is taken (452). A half of it again is kept back from other
    /// programs.
    pub(crate) min_free_bytes: u64,
    /// How long a body is kept that no message refers to any more.
    pub(crate) collect_after_seconds: u64,
    /// A message of this size or more is written to the disk while it comes, not gathered in memory.
    pub(crate) stage_from_bytes: usize,
    /// So much of all of those may be under way; past it the next are told to come again.
    pub(crate) under_way_max_bytes: u64,
    /// Bytes a second of all bodies that are read again and compared with their hashes; 0 for none.
    pub(crate) scrub_bytes_per_second: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            cache_bytes: 256 * 1024 * 1024,
            structures_cache_bytes: estafette_mailbox::STRUCTURES_BYTES,
            uids_cache_bytes: estafette_mailbox::UID_MAPS_BYTES,
            maildrops_cache_bytes: estafette_mailbox::MAILDROPS_BYTES,
            min_free_bytes: 256 * 1024 * 1024,
            collect_after_seconds: 3_600,
            stage_from_bytes: 1024 * 1024,
            under_way_max_bytes: 16 << 30,
            scrub_bytes_per_second: 1 << 20,
        }
    }
}

/// Raft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RaftConfig {
    /// Log entries after which the log is shortened.
    pub(crate) snapshot_after_entries: u64,
    /// How long at most a small entry of the log waits for callers who are about to be answered to come again, so that
    /// they share it; 0 for not at all.
    pub(crate) company_wait_ms: u64,
    /// How long at most other nodes are not told of a commit alone, but with the entries that come next; 0 for not at all.
    pub(crate) commit_wait_ms: u64,
    /// Bytes that stay in memory for each group, of rows that are read and written over with every message.
    pub(crate) recent_bytes: usize,
}

impl Default for RaftConfig {
    fn default() -> Self {
        RaftConfig {
            snapshot_after_entries: 50_000,
            company_wait_ms: 1,
            commit_wait_ms: 2,
            recent_bytes: 1 << 20,
        }
    }
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LogConfig {
    /// What is told: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,estafette_raft=debug`.
    pub(crate) filter: String,
    /// One JSON object a line in place of text.
    pub(crate) json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { filter: "info".to_owned(), json: false }
    }
}

impl Config {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Config::parse(&text)
    }

    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Result<Config, ConfigError> {
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
        known::check(&table)?;
        let config: Config =
            table.try_into().map_err(|e: toml::de::Error| ConfigError::Value(e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let range = |key, ok, wanted| if ok { Ok(()) } else { Err(ConfigError::Range { key, wanted }) };
        range("node.shards", self.node.shards <= 256, "0 to 256")?;
        range("smtp.recipients_max", self.smtp.recipients_max >= 100, "100 or more (RFC 5321 §4.5.3.1.8)")?;
        range("smtp.message_max_bytes", self.smtp.message_max_bytes >= 65_536, "65536 or more")?;
        range("imap.line_max_bytes", self.imap.line_max_bytes >= 8_192, "8192 or more (RFC 9051 §4)")?;
        range("imap.idle_timeout_seconds", self.imap.idle_timeout_seconds >= 1, "1 or more")?;
        range("login.checks_at_once", self.login.checks_at_once >= 1, "1 or more")?;
        range("login.cache_seconds", self.login.cache_seconds <= 86_400, "0 to 86400")?;
        range("login.cache_entries", self.login.cache_entries <= 10_000_000, "0 to 10000000")?;
        range(
            "login.argon2_memory_kib",
            (8..=4_194_304).contains(&self.login.argon2_memory_kib),
            "8 to 4194304",
        )?;
        range("login.argon2_passes", (1..=100).contains(&self.login.argon2_passes), "1 to 100")?;
        range(
            "storage.min_free_bytes",
            self.storage.min_free_bytes >= estafette_storage::MIN_FREE_BYTES_MIN,
            "134217728 (128 MiB) or more: what is under way when the disk fills up needs that much",
        )?;
        range(
            "storage.collect_after_seconds",
            self.storage.collect_after_seconds >= COLLECT_AFTER_SECONDS_MIN,
            "5 or more: what is under way may still name a body that was just let go",
        )?;
        range(
            "storage.stage_from_bytes",
            (262_144..=67_108_864).contains(&self.storage.stage_from_bytes),
            "262144 (256 KiB) to 67108864 (64 MiB)",
        )?;
        let largest = self.smtp.message_max_bytes.max(self.imap.append_max_bytes);
        range(
            "storage.under_way_max_bytes",
            self.storage.under_way_max_bytes / 2 >= largest,
            "twice the size of the largest message or more",
        )?;
        range(
            "raft.company_wait_ms",
            self.raft.company_wait_ms <= estafette_raft::COMPANY_WAIT_MS_MAX,
            "0 to 1000",
        )?;
        range(
            "raft.commit_wait_ms",
            self.raft.commit_wait_ms <= estafette_raft::COMMIT_WAIT_MS_MAX,
            "0 to 100",
        )?;
        range("raft.recent_bytes", self.raft.recent_bytes <= 16 << 20, "0 to 16777216 (16 MiB)")?;
        range("cluster.listen", self.cluster.listen.port > 0, "an address with a port of its own")?;
        range(
            "cluster.move_bytes_per_second",
            self.cluster.move_bytes_per_second >= 65_536,
            "65536 or more",
        )?;
        let patience = 1..=50_000;
        range("cluster.fresh_timeout_ms", patience.contains(&self.cluster.fresh_timeout_ms), "1 to 50000")?;
        range("cluster.write_timeout_ms", patience.contains(&self.cluster.write_timeout_ms), "1 to 50000")?;
        range("queue.retry_first_seconds", self.queue.retry_first_seconds >= 1, "1 or more")?;
        range(
            "smtp.detail_separator",
            self.smtp.detail_separator.chars().count() <= 1,
            "one character or none",
        )
    }
}

#[cfg(test)]
mod tests;
