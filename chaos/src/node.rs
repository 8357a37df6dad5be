//! A real node as a child process, and what can be done to it.

use crate::error::{ChaosError, Stop};
use crate::finding::Finding;
use crate::load::{Doors, Target};
use crate::reader::{Door, Login};
use crate::wire::ANSWER_WAIT;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::net::Ipv4Addr;
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
/// What a node serves, and on which port where it has an address of its own.
const LISTENERS: [(&str, u16); 9] = [
    ("smtp", 25),
    ("submission", 587),
    ("submissions", 465),
    ("lmtp", 24),
    ("imap", 143),
    ("imaps", 993),
    ("pop3", 110),
    ("pop3s", 995),
    ("http", 80),
];

/// Where a node lives.
#[derive(Clone, Debug)]
pub(crate) enum Home {
    /// On this machine, on free ports.
    Loopback,
    /// In a network namespace, with an address and the usual ports.
    Namespace { file: PathBuf, address: Ipv4Addr },
}

impl Home {
    fn listener(&self, port: u16) -> String {
        match self {
            Home::Loopback => "127.0.0.1:0".to_owned(),
            Home::Namespace { address, .. } => format!("{address}:{port}"),
        }
    }

    /// How a program is started there.
    pub(crate) fn command(&self, program: &Path) -> Command {
        match self {
            Home::Loopback => Command::new(program),
            Home::Namespace { file, .. } => {
                let mut within = OsString::from("--net=");
                within.push(file);
                let mut command = Command::new("nsenter");
                // It becomes the program: signals go to that.
                command.arg(within).arg("--").arg(program);
                command
            }
        }
    }
}

/// Where a service of one node of a cluster is reached, by its usual port.
pub(crate) fn door(address: Ipv4Addr, service: &str) -> String {
    let port = LISTENERS.iter().find(|(name, _)| *name == service).map_or(0, |(_, port)| *port);
    format!("{address}:{port}")
}

/// Those that mail goes in and out by.
pub(crate) fn doors(address: Ipv4Addr) -> Doors {
    let at = |service| door(address, service);
    Doors { smtp: at("smtp"), lmtp: at("lmtp"), pop3: at("pop3"), imap: at("imap") }
}

/// How a node is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) program: PathBuf,
    pub(crate) data: PathBuf,
    /// Configuration, ready file and log lie here under `name`.
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) home: Home,
    /// Of the demonstration domain; 0 for none.
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
    begin: Instant,
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
    pub(crate) fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.name))
    }

    fn config(&self) -> String {
        let mut text = String::from("[log]\nfilter = \"info\"\n[listen]\n");
        for (name, port) in LISTENERS {
            let _ = writeln!(text, "{name} = [\"{}\"]", self.home.listener(port));
        }
        // Several, however few processors the machine has.
        text.push_str("[node]\nshards = 4\n");
        // Hashes that cost little: there are many logins, and it is not they that are tried.
        text.push_str("[login]\nallow_plaintext = true\nargon2_memory_kib = 64\nargon2_passes = 1\n");
        text.push_str("failures_per_address = 1000000\nfailure_delay_ms = 10\n");
        for (section, lines) in &self.settings {
            let _ = writeln!(text, "[{section}]\n{}", lines.join("\n"));
        }
        text
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self) -> Result<PathBuf, ChaosError> {
        let config = self.file("toml");
        std::fs::write(&config, self.config()).map_err(ChaosError::file(&config))?;
        Ok(config)
    }

    /// Starts the process without waiting for it to serve.
    pub(crate) fn spawn(&self) -> Result<Process, ChaosError> {
        let (config, log) = (self.configure()?, self.file("log"));
        let output = std::fs::File::create(&log).map_err(ChaosError::file(&log))?;
        let also = output.try_clone().map_err(ChaosError::file(&log))?;
        let _ = std::fs::remove_file(self.file("ready"));
        let mut command = self.home.command(&self.program);
        command.arg("serve").arg("--data").arg(&self.data).arg("--config").arg(&config);
        if self.accounts > 0 {
            command.args(["--demo", "--demo-accounts", &self.accounts.to_string()]);
        }
        let child = command
            .arg("--ready-file")
            .arg(self.file("ready"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(also)
            .spawn();
        let program = || self.program.display().to_string();
        let child = child.map_err(|source| ChaosError::Program { program: program(), source })?;
        Ok(Process { child, log, begin: Instant::now() })
    }

    /// Starts a node and waits until it serves.
    pub(crate) async fn start(&self) -> Result<Started, ChaosError> {
        self.serving(self.spawn()?).await
    }

    /// Waits until a process that was just started by this plan serves.
    pub(crate) async fn serving(&self, mut process: Process) -> Result<Started, ChaosError> {
        let file = self.file("ready");
        while !file.exists() {
            if process.ended().is_some() {
                return Ok(Started::Ended(process.log()));
            }
            if process.begin.elapsed() > START_WAIT {
                return Ok(Started::Neither(process.log()));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        let text = std::fs::read(&file).map_err(ChaosError::file(&file))?;
        let ready = serde_json::from_slice(&text).map_err(ChaosError::Ready)?;
        let start_time = process.begin.elapsed();
        Ok(Started::Serving(Node { process, ready, start_time }))
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

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
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

    /// Waits for its end after SIGTERM.
    pub(crate) async fn wait(&mut self) -> Result<ExitStatus, Stop> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if begin.elapsed() > END_WAIT {
                return Err(Finding::SlowEnd { seconds: END_WAIT.as_secs() }.into());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// SIGTERM; it has to end well.
    pub(crate) async fn stop(&mut self) -> Result<(), Stop> {
        self.signal(Signal::TERM);
        let status = self.wait().await?;
        if status.success() {
            return Ok(());
        }
        Err(Finding::BadEnd { status: status.to_string(), log: self.log() }.into())
    }

    /// A finding if it has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), Stop> {
        match self.ended() {
            None => Ok(()),
            Some(status) => Err(Finding::Ended { status: status.to_string(), log: self.log() }.into()),
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
        self.process.wait().await
    }

    /// SIGTERM; it has to end well.
    pub(crate) async fn stop(mut self) -> Result<(), Stop> {
        self.process.stop().await
    }

    /// A finding if it has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), Stop> {
        self.process.alive()
    }

    /// The process alone, for those who know all else.
    pub(crate) fn into_process(self) -> Process {
        self.process
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
        let recipients: Arc<[String]> = self.addresses().into();
        if recipients.is_empty() {
            return Err(ChaosError::NoAccounts);
        }
        Ok(Target {
            doors: Arc::new([Doors {
                smtp: self.listener("smtp")?,
                lmtp: self.listener("lmtp")?,
                pop3: self.listener("pop3")?,
                // A node of an early version has none.
                imap: self.listener("imap").unwrap_or_default(),
            }]),
            patience: ANSWER_WAIT,
            logins: self.logins().into(),
            recipients,
            next_id: Arc::clone(next_id),
        })
    }

    /// Addresses of the demonstration's accounts.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let accounts = self.ready.demo.iter().flat_map(|demo| &demo.accounts);
        accounts.map(|account| account.address.clone()).collect()
    }
}

/// The end of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let from = text.len().saturating_sub(LOG_BYTES);
    String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
}
