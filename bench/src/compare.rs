//! Runs the same loads against several servers in turns and puts the figures side by side.

use crate::error::BenchError;
use crate::load::{Idle, Imap, ImapProfile, Ingest, LoadResult, Pop3, Protocol};
use crate::process::Meter;
use crate::report::{self, Measurement};
use crate::servers::{Dovecot, Estafette, Postfix, Server, Sync};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Instant;

/// The same loads against each server; all are durable before they answer.
#[derive(Args, Clone, Debug)]
pub(crate) struct Compare {
    /// The program `estafette`.
    #[arg(long)]
    pub program: PathBuf,
    /// An empty folder on the disk to be measured.
    #[arg(long)]
    pub folder: PathBuf,
    /// Rounds; in each, every server runs every load once.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Messages of a load; other loads follow it.
    #[arg(long, default_value_t = 4_000)]
    pub messages: usize,
    /// Accounts of each server.
    #[arg(long, default_value_t = 100)]
    pub accounts: usize,
    /// Idle sessions held, twice.
    #[arg(long, default_value_t = 1_000)]
    pub idle_sessions: usize,
    /// Only loads with one of these in their names (`imap`, `fetch`, `lmtp 4 KiB`); all, when none is given.
    #[arg(long, value_delimiter = ',')]
    pub loads: Vec<String>,
    /// Servers, of `estafette`, `dovecot`, `dovecot-synced` (flags durable too), `postfix`.
    #[arg(long, value_delimiter = ',', default_values = ["estafette", "dovecot", "postfix"])]
    pub servers: Vec<String>,
    /// Write all figures to this file as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// A load and its name in the table.
enum Work {
    Ingest(Protocol, usize, usize),
    Imap(ImapProfile),
    Pop3,
    Idle,
}

/// How many commands there are for each message of the other loads: cheap ones need many, to last long
/// enough to be measured.
fn commands_each(profile: ImapProfile) -> usize {
    match profile {
        ImapProfile::Fetch | ImapProfile::Select | ImapProfile::Status => 10,
        ImapProfile::Store => 4,
        ImapProfile::Headers | ImapProfile::Append => 2,
    }
}

/// Messages for each message of the other loads that are read over POP3.
const POP3_EACH: usize = 10;

fn works() -> Vec<(String, Work)> {
    // First, while no load has left memory behind in which sessions find room.
    let mut works = vec![("idle imap session".to_owned(), Work::Idle)];
    for (protocol, name) in [(Protocol::Lmtp, "lmtp"), (Protocol::Smtp, "smtp")] {
        for sessions in [1, 20, 100] {
            let work = Work::Ingest(protocol, sessions, 4_096);
            works.push((format!("{name} 4 KiB, {sessions} sessions"), work));
        }
    }
    // These read what the deliveries have brought: messages of 4 KiB.
    for (profile, name) in [
        (ImapProfile::Fetch, "fetch"),
        (ImapProfile::Headers, "headers"),
        (ImapProfile::Store, "store"),
        (ImapProfile::Select, "select"),
        (ImapProfile::Status, "status"),
        (ImapProfile::Append, "append"),
    ] {
        works.push((format!("imap {name}, 10 sessions"), Work::Imap(profile)));
    }
    works.push(("pop3 retr, 10 sessions".to_owned(), Work::Pop3));
    for (protocol, name) in [(Protocol::Lmtp, "lmtp"), (Protocol::Smtp, "smtp")] {
        works.push((format!("{name} 64 KiB, 20 sessions"), Work::Ingest(protocol, 20, 65_536)));
    }
    works.push(("imap fetch, with messages of 64 KiB".to_owned(), Work::Imap(ImapProfile::Fetch)));
    works
}

impl Compare {
    /// Runs it and prints the table.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let mut works = works();
        works.retain(|(label, work)| {
            // This brings the mail that others read.
            matches!(work, Work::Ingest(Protocol::Lmtp, 1, _))
                || self.loads.is_empty()
                || self.loads.iter().any(|wanted| label.contains(wanted.as_str()))
        });
        let bar = ProgressBar::new((self.rounds * self.servers.len() * works.len()) as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)") {
            bar.set_style(style);
        }
        let mut measurements = Vec::new();
        for round in 0..self.rounds {
            for name in &self.servers {
                let folder = self.folder.join(format!("{name}-{round}"));
                std::fs::create_dir_all(&folder)?;
                let mut server = self.start(name, &folder)?;
                for (label, work) in &works {
                    bar.set_message(format!("{name}: {label}"));
                    if let Some(measured) = self.measure(server.as_ref(), work).await? {
                        measurements.push(Measurement {
                            round,
                            server: server.name().to_owned(),
                            load: label.clone(),
                            measured,
                        });
                    }
                    bar.inc(1);
                }
                server.stop();
                std::fs::remove_dir_all(&folder)?;
            }
        }
        bar.finish_and_clear();
        report::print(&measurements)?;
        if let Some(path) = &self.json {
            std::fs::write(path, serde_json::to_vec_pretty(&measurements)?)?;
        }
        Ok(())
    }

    fn start(&self, name: &str, folder: &std::path::Path) -> Result<Box<dyn Server>, BenchError> {
        Ok(match name {
            "estafette" => Box::new(Estafette::start(&self.program, folder, self.accounts)?),
            "dovecot" => Box::new(Dovecot::start(folder, self.accounts, Sync::AsShipped)?),
            "dovecot-synced" => Box::new(Dovecot::start(folder, self.accounts, Sync::Always)?),
            "postfix" => Box::new(Postfix::start(folder, self.accounts)?),
            other => {
                return Err(BenchError::Start {
                    server: "the comparison",
                    why: format!("there is no server '{other}'"),
                });
            }
        })
    }

    /// `None` where the server has no such service.
    async fn measure(
        &self,
        server: &dyn Server,
        work: &Work,
    ) -> Result<Option<report::Measured>, BenchError> {
        let meter = Meter { pids: server.pids() };
        let began = Instant::now();
        let (recipients, logins) = (server.recipients(), server.logins());
        let result: LoadResult = match work {
            Work::Ingest(protocol, sessions, size) => {
                let address = if *protocol == Protocol::Lmtp { server.lmtp() } else { server.smtp() };
                let Some(address) = address else { return Ok(None) };
                let share = if *sessions == 1 || *size > 4_096 { 4 } else { 1 };
                let messages = self.messages / share;
                let (protocol, sessions, size) = (*protocol, *sessions, *size);
                // What waits in a queue is not delivered yet: the clock runs until it is.
                let queued = server.smtp().is_some() && server.lmtp().is_none();
                let load = Ingest {
                    protocol,
                    address,
                    recipients,
                    recipients_each: 1,
                    sessions,
                    messages,
                    size,
                    meter: if queued { Meter::default() } else { meter.clone() },
                };
                let before = meter.read();
                let mut result = load.run().await?;
                server.settled()?;
                if queued {
                    result.seconds = began.elapsed().as_secs_f64();
                    result.per_second = result.operations as f64 / result.seconds;
                    result.used = meter.read_at_rest().await.since(before);
                }
                result
            }
            Work::Imap(profile) => {
                let Some(address) = server.imap() else { return Ok(None) };
                Imap {
                    address,
                    logins,
                    profile: *profile,
                    sessions: 10,
                    commands: self.messages * commands_each(*profile),
                    size: 4_096,
                    meter,
                }
                .run()
                .await?
            }
            Work::Pop3 => {
                let Some(address) = server.pop3() else { return Ok(None) };
                let messages = self.messages * POP3_EACH;
                Pop3 { address, logins, sessions: 10, messages, meter }.run().await?
            }
            Work::Idle => {
                let (Some(address), Some(pid)) = (server.imap(), server.pids().first().copied()) else {
                    return Ok(None);
                };
                let idle = Idle { address, logins, sessions: self.idle_sessions, pid }.run().await?;
                return Ok(Some(report::Measured::Memory { session_kib: idle.session_kib }));
            }
        };
        let used = result.used;
        let each = |total: f64| total / (result.operations.max(1) as f64);
        Ok(Some(report::Measured::Work {
            per_second: result.per_second,
            cpu_ms_each: each(used.cpu_seconds * 1000.0),
            written_kib_each: each(used.written_bytes as f64 / 1024.0),
            p50_ms: result.p50_ms,
            p99_ms: result.p99_ms,
        }))
    }
}
