//! Processes that hold many connections each: one process may open no more files than its limit.
//!
//! A worker is this program again, with a hidden subcommand. It reads one job from its standard input as a line
//! of JSON, tells what happens as lines of JSON, and ends with its input.

use super::held::Held;
use super::watcher::Watched;
use crate::error::BenchError;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::process::Stdio;
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};

/// Connections of one process at most; it may open some thousands of files more.
pub(super) const CONNECTIONS_MAX: usize = 12_500;

/// What a worker does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Job {
    /// Watches mailboxes.
    Watch(Watched),
    /// Holds sessions in one state.
    Hold(Held),
}

/// What it tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// All connections are as they should be.
    Ready,
    /// A session was told that its mailbox holds so many messages.
    Exists {
        /// Its number.
        session: usize,
        /// How many.
        count: u64,
        /// When, by the clock of the machine.
        at_us: u64,
    },
    /// The server ended connections, or refused them.
    Lost {
        /// How many since the last word.
        count: usize,
        /// How the last one went.
        why: String,
    },
}

/// Microseconds of the clock that all processes of the machine share.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

/// A worker, as the process that started it sees it.
pub(super) struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts one.
    pub(super) async fn start(job: &Job) -> Result<Worker, BenchError> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe).into());
        };
        input.write_all((serde_json::to_string(job)? + "\n").as_bytes()).await?;
        Ok(Worker { child, input: Some(input), output: BufReader::new(output).lines() })
    }

    /// What it tells next; an error if it has ended.
    pub(super) async fn event(&mut self) -> Result<Event, BenchError> {
        match self.output.next_line().await? {
            Some(line) => Ok(serde_json::from_str(&line)?),
            None => Err(BenchError::Tool { tool: "worker", why: "it ended".to_owned() }),
        }
    }

    /// Ends it and its connections.
    pub(super) async fn end(mut self) -> Result<(), BenchError> {
        drop(self.input.take());
        self.child.wait().await?;
        Ok(())
    }
}

/// The name of the hidden subcommand.
const SUBCOMMAND: &str = "worker";

/// The hidden subcommand: does the job that its input names.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Work;

impl Work {
    /// Does it.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        let job = serde_json::from_str(&line)?;
        // Who started us has ended, or has enough.
        let (ends, mut ended) = oneshot::channel();
        std::thread::spawn(move || {
            let _ = std::io::stdin().read_line(&mut String::new());
            let _ = ends.send(());
        });
        let (told, mut events) = mpsc::unbounded_channel();
        match job {
            Job::Watch(job) => tokio::spawn(job.run(told)),
            Job::Hold(job) => tokio::spawn(job.run(told)),
        };
        let mut output = std::io::stdout();
        loop {
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else { return Ok(()) };
                    writeln!(output, "{}", serde_json::to_string(&event)?)?;
                }
                _ = &mut ended => return Ok(()),
            }
        }
    }
}
