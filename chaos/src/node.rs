//! A real node as a child process, and what can be done to it.

use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::load::Target;
use crate::reader::{Door, Login};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// A node that is not ready by then has failed to start.
const START_WAIT: Duration = Duration::from_secs(90);
/// A node that has not ended by then does not obey SIGTERM.
const END_WAIT: Duration = Duration::from_secs(60);
/// Between two looks at a process.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// As much of a log as findings carry.
const LOG_BYTES: usize = 3000;
const LISTENERS: [&str; 9] =
    ["smtp", "submission", "submissions", "lmtp", "imap", "imaps", "pop3", "pop3s", "http"];

/// How a node is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) data: PathBuf,
    /// Configuration, ready file and log lie here under `name`.
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) accounts: usize,
    /// Settings by section.
    pub(crate) settings: BTreeMap<&'static str, Vec<String>>,
    pub(crate) environment: Vec<(String, PathBuf)>,
}

/// The part of the ready file that is used.
#[derive(Debug, Deserialize)]
struct Ready {
    listeners: BTreeMap<String, String>,
    demo: Option<Demo>,
}

#[derive(Debug, Deserialize)]
struct Demo {
    accounts: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    username: String,
    address: String,
    password: String,
}

/// A process that was started. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// A node that serves.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    ready: Ready,
    pub(crate) start_time: Duration,
}

/// What came of a start.
#[derive(Debug)]
pub(crate) enum Started {
    Serving(Node),
    /// It ended without serving; its log.
    Ended(String),
    /// It neither serves nor ends; its log.
    Neither(String),
}

impl Plan {
    fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.name))
    }

    fn config(&self) -> String {
        let mut text = String::from("[login]\nallow_plaintext = true\n[log]\nfilter = \"info\"\n[listen]\n");
        for name in LISTENERS {
            let _ = writeln!(text, "{name} = [\"127.0.0.1:0\"]");
        }
        // Several, however few processors the machine has.
        text.push_str("[node]\nshards = 4\n");
        for (section, lines) in &self.settings {
            let _ = writeln!(text, "[{section}]\n{}", lines.join("\n"));
        }
        text
    }

    /// Starts the process without waiting for it to serve.
    pub(crate) fn spawn(&self) -> Result<Process, ChaosError> {
        let (config, log) = (self.file("toml"), self.file("log"));
        std::fs::write(&config, self.config()).map_err(ChaosError::file(&config))?;
        let output = std::fs::File::create(&log).map_err(ChaosError::file(&log))?;
        let also = output.try_clone().map_err(ChaosError::file(&log))?;
        let _ = std::fs::remove_file(self.file("ready"));
        let child = Command::new(&self.program)
            .arg("serve")
            .arg("--data")
            .arg(&self.data)
            .arg("--config")
            .arg(&config)
            .args(["--demo", "--demo-accounts", &self.accounts.to_string(), "--ready-file"])
            .arg(self.file("ready"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(also)
            .spawn();
        let program = || self.program.display().to_string();
        let child = child.map_err(|source| ChaosError::Program { program: program(), source })?;
        Ok(Process { child, log })
    }

    /// Starts a node and waits until it serves.
    pub(crate) async fn start(&self) -> Result<Started, ChaosError> {
        let begin = Instant::now();
        let mut process = self.spawn()?;
        let file = self.file("ready");
        while !file.exists() {
            if process.ended().is_some() {
                return Ok(Started::Ended(process.log()));
            }
            if begin.elapsed() > START_WAIT {
                return Ok(Started::Neither(process.log()));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let text = std::fs::read(&file).map_err(ChaosError::file(&file))?;
        let ready = serde_json::from_slice(&text).map_err(ChaosError::Ready)?;
        Ok(Started::Serving(Node { process, ready, start_time: begin.elapsed() }))
    }
}

impl Started {
    /// The node; a finding if it does not serve.
    pub(crate) fn serving(self, after: &'static str) -> Result<Node, Stop> {
        match self {
            Started::Serving(node) => Ok(node),
            Started::Ended(log) => Err(Finding::NoStart { after, log }.into()),
            Started::Neither(log) => {
                Err(Finding::SlowStart { after, seconds: START_WAIT.as_secs(), log }.into())
            }
        }
    }
}

impl Process {
    /// Its status if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn signal(&self, signal: Signal) {
        // It may have ended, and then there is nothing to signal.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGKILL, and waits for its end.
    pub(crate) fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }

    /// The end of what it printed.
    pub(crate) fn log(&self) -> String {
        tail(&self.log)
    }

    /// True if any of these words, in small letters, is in what it printed.
    pub(crate) fn log_says(&self, words: &[&str]) -> bool {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).to_lowercase();
        words.iter().any(|word| text.contains(word))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Node {
    pub(crate) fn kill(mut self) {
        self.process.kill();
    }

    pub(crate) fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.process.signal(Signal::CONT);
    }

    pub(crate) fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits for its end after [`Node::terminate`].
    pub(crate) async fn wait(mut self) -> Result<ExitStatus, Stop> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                return Ok(status);
            }
            if begin.elapsed() > END_WAIT {
                return Err(Finding::SlowEnd { seconds: END_WAIT.as_secs() }.into());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// SIGTERM; it has to end well.
    pub(crate) async fn stop(self) -> Result<(), Stop> {
        let log = self.process.log.clone();
        self.terminate();
        let status = self.wait().await?;
        if status.success() {
            return Ok(());
        }
        let log = tail(&log);
        Err(Finding::BadEnd { status: status.to_string(), log }.into())
    }

    /// A finding if it has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), Stop> {
        match self.process.ended() {
            None => Ok(()),
            Some(status) => {
                Err(Finding::Ended { status: status.to_string(), log: self.process.log() }.into())
            }
        }
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn log_says(&self, words: &[&str]) -> bool {
        self.process.log_says(words)
    }

    pub(crate) fn listener(&self, name: &'static str) -> Result<String, ChaosError> {
        self.ready.listeners.get(name).cloned().ok_or(ChaosError::NoListener(name))
    }

    /// Where to read: IMAP when it is served.
    pub(crate) fn door(&self) -> Result<Door, ChaosError> {
        match self.listener("imap") {
            Ok(address) => Ok(Door::Imap(address)),
            Err(_) => self.listener("pop3").map(Door::Pop3),
        }
    }

    pub(crate) fn logins(&self) -> Vec<Login> {
        let accounts = self.ready.demo.iter().flat_map(|demo| &demo.accounts);
        let login = |account: &Account| Login {
            username: account.username.clone(),
            password: account.password.clone(),
        };
        accounts.map(login).collect()
    }

    /// Where to deliver.
    pub(crate) fn target(&self, next_id: &Arc<AtomicU64>) -> Result<Target, ChaosError> {
        let accounts = self.ready.demo.iter().flat_map(|demo| &demo.accounts);
        let recipients: Arc<[String]> = accounts.map(|account| account.address.clone()).collect();
        if recipients.is_empty() {
            return Err(ChaosError::NoAccounts);
        }
        Ok(Target {
            smtp: self.listener("smtp")?,
            lmtp: self.listener("lmtp")?,
            pop3: self.listener("pop3")?,
            logins: self.logins().into(),
            recipients,
            next_id: Arc::clone(next_id),
        })
    }
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_BYTES);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}
