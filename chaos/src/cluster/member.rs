//! One node of a cluster: its disk, its process, its wrong clock.

use super::disk::Disk;
use super::net::{self, Number};
use super::proxy::MESH_PORT;
use crate::error::{ChaosError, Stop};
use crate::faults::Planted;
use crate::folder;
use crate::node::{Home, Plan, Process, Started};
use crate::random::Random;
use crate::shim;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const SYNC: &str = include_str!("../../shim/sync.c");
const CLOCK: &str = include_str!("../../shim/clock.c");
/// Messages from this size on are staged; loads have such now and then.
const STAGE_FROM_BYTES: u64 = 256 * 1024;
/// The disk is small: the least that may be kept free.
const MIN_FREE_BYTES: u64 = 128 * 1024 * 1024;

/// Words of a node that has met damage which it cannot mend: it has to be emptied, and joined anew.
const DAMAGED: [&str; 1] = ["the database of this node is damaged"];

/// How nodes are started.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    /// Of the demonstration domain, which the first node makes.
    pub(crate) accounts: usize,
    /// False for a node that knows nothing of clusters.
    pub(crate) mesh: bool,
    pub(crate) planted: Option<Planted>,
}

/// A node, running or not.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: Number,
    pub(crate) disk: Disk,
    pub(crate) starts: u64,
    /// Counts up when the folder may hold less than it did: what was read from it has to be read again.
    pub(crate) life: u64,
    /// A fault damaged its files, and they were not removed since: it may say so at any time, for not all damage is found by a
    /// check.
    pub(crate) flipped: bool,
    /// The same, and no check found them whole.
    pub(crate) suspect: bool,
    manner: Manner,
    libraries: [PathBuf; 2],
    running: Option<(Plan, Process)>,
}

impl Member {
    /// A node with an empty disk, which does not run.
    pub(crate) fn make(manner: Manner, number: Number) -> Result<Member, Stop> {
        let libraries = [("sync", SYNC), ("clock", CLOCK)]
            .map(|(name, source)| shim::compile(&manner.folder, name, source));
        let [sync, clock] = libraries;
        let disk = Disk::make(&manner.folder, &format!("n{number}"))?;
        let libraries = [sync?, clock?];
        let member = Member {
            number,
            disk,
            starts: 0,
            life: 0,
            flipped: false,
            suspect: false,
            manner,
            libraries,
            running: None,
        };
        member.set_clock(0)?;
        Ok(member)
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.manner.folder.join(format!("n{}.{kind}", self.number))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.disk.data()
    }

    /// How it is started next, with settings that make rare things frequent.
    fn plan(&mut self, random: &mut Random) -> Plan {
        self.starts += 1;
        let mut pick = |from: &[u64]| random.pick(from).copied().unwrap_or(1);
        let storage = vec![
            format!("collect_after_seconds = {}", pick(&[5, 3600])),
            format!("stage_from_bytes = {STAGE_FROM_BYTES}"),
            format!("min_free_bytes = {MIN_FREE_BYTES}"),
        ];
        let raft = vec![
            format!("snapshot_after_entries = {}", pick(&[200, 2000, 50_000])),
            format!("company_wait_ms = {}", pick(&[0, 1, 20])),
            format!("commit_wait_ms = {}", pick(&[0, 2, 100])),
            format!("recent_bytes = {}", pick(&[0, 2_000, 1 << 20])),
        ];
        // What a shard could not take goes by the queue of another one: soon enough to be waited for.
        let queue = vec!["retry_first_seconds = 1".to_owned(), "retry_max_seconds = 4".to_owned()];
        let mut settings = BTreeMap::from([("storage", storage), ("raft", raft), ("queue", queue)]);
        if self.manner.mesh {
            let address = |address| format!("\"{address}:{MESH_PORT}\"");
            settings.insert(
                "cluster",
                vec![
                    format!("listen = {}", address(net::own(self.number))),
                    format!("advertise = {}", address(net::front(self.number))),
                    format!("label = \"place{}\"", self.number),
                ],
            );
        }
        Plan {
            program: self.manner.program.clone(),
            data: self.data(),
            folder: self.manner.folder.clone(),
            name: format!("n{}-{:04}", self.number, self.starts),
            home: Home::Namespace { file: net::namespace(self.number), address: net::own(self.number) },
            accounts: if self.number == 1 && self.starts == 1 { self.manner.accounts } else { 0 },
            settings,
            environment: self.environment(),
        }
    }

    fn environment(&self) -> Vec<(String, PathBuf)> {
        let [sync, clock] = &self.libraries;
        let mut environment = vec![
            ("LD_PRELOAD".to_owned(), PathBuf::from(format!("{}:{}", sync.display(), clock.display()))),
            ("CHAOS_FOLDER".to_owned(), self.data()),
            ("CHAOS_TRIGGER".to_owned(), self.file("syncs-fail")),
            ("CHAOS_DELAY".to_owned(), self.file("slow")),
            ("CHAOS_CLOCK".to_owned(), self.file("clock")),
        ];
        if self.manner.planted == Some(Planted::SyncLeftOut) {
            environment.push(("CHAOS_SKIP".to_owned(), PathBuf::from(".log")));
        }
        environment
    }

    /// Starts it without waiting for it to serve; nothing if it runs.
    pub(crate) fn launch(&mut self, random: &mut Random) -> Result<(), ChaosError> {
        if self.running.is_none() {
            let plan = self.plan(random);
            let process = plan.spawn()?;
            self.running = Some((plan, process));
        }
        Ok(())
    }

    /// Waits until it serves; a finding if it does not. Gives what it told of the demonstration, if it did.
    pub(crate) async fn serving(&mut self, after: &'static str) -> Result<Option<Accounts>, Stop> {
        let Some((plan, process)) = self.running.take() else { return Ok(None) };
        let node = plan.serving(process).await?.serving(after)?;
        let accounts = Accounts { logins: node.logins(), addresses: node.addresses() };
        self.running = Some((plan, node.into_process()));
        Ok(Some(accounts).filter(|accounts| !accounts.logins.is_empty()))
    }

    /// The same for a folder that may be damaged: `Some` is the log of one that did not start.
    pub(crate) async fn refused(&mut self) -> Result<Option<String>, Stop> {
        let Some((plan, process)) = self.running.take() else { return Ok(None) };
        match plan.serving(process).await? {
            Started::Serving(node) => {
                self.running = Some((plan, node.into_process()));
                Ok(None)
            }
            Started::Ended(log) => Ok(Some(log)),
            neither @ Started::Neither(_) => Err(neither
                .serving("on a damaged folder")
                .err()
                .unwrap_or(Stop::Skipped("a node that neither served nor ended"))),
        }
    }

    /// True if any of these words is in what it printed since it was started.
    pub(crate) fn says(&self, words: &[&str]) -> bool {
        self.running.as_ref().is_some_and(|(_, process)| process.log_says(words))
    }

    /// The whole lines that it printed behind this place of its log, which moves on. A new start has a new log.
    pub(crate) fn lines_since(&self, place: &mut u64) -> Vec<String> {
        let Some((plan, _)) = &self.running else { return Vec::new() };
        let text = read_from(&plan.file("log"), place).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }

    /// True if a fault damaged it, and it has said that it is damaged.
    pub(crate) fn says_damaged(&self) -> bool {
        self.flipped && self.says(&DAMAGED)
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some((_, process)) = &self.running {
            process.signal(signal);
        }
    }

    /// A finding if it was started and has ended by itself.
    pub(crate) fn alive(&mut self) -> Result<(), Stop> {
        self.running.as_mut().map_or(Ok(()), |(_, process)| process.alive())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some((_, mut process)) = self.running.take() {
            process.kill();
        }
    }

    /// SIGTERM; it has to end well.
    pub(crate) async fn stop(&mut self) -> Result<(), Stop> {
        match self.running.take() {
            Some((_, mut process)) => process.stop().await,
            None => Ok(()),
        }
    }

    /// SIGTERM to one that has failed: it only has to end.
    pub(crate) async fn end(&mut self) -> Result<(), Stop> {
        let Some((_, mut process)) = self.running.take() else { return Ok(()) };
        process.signal(Signal::TERM);
        process.wait().await.map(|_| ())
    }

    /// Loses power: what was not on the disk is gone.
    pub(crate) fn lose_power(&mut self) -> Result<(), ChaosError> {
        self.life += 1;
        self.signal(Signal::STOP);
        let running = self.running.take();
        self.disk.lose_power(|| drop(running))
    }

    /// SIGKILL, and nothing of its data is left.
    pub(crate) fn wipe(&mut self) -> Result<(), ChaosError> {
        self.life += 1;
        (self.flipped, self.suspect) = (false, false);
        self.kill();
        folder::remove(&self.data())
    }

    /// Sets its clock wrong by so many seconds.
    pub(crate) fn set_clock(&self, seconds: i64) -> Result<(), ChaosError> {
        use std::io::Write;
        let path = self.file("clock");
        // In place: the node has it mapped.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let ns = seconds.saturating_mul(1_000_000_000);
        file.and_then(|mut file| file.write_all(&ns.to_ne_bytes())).map_err(ChaosError::file(&path))
    }

    /// Each sync takes so much longer; 0 for no longer.
    pub(crate) fn slow_disk(&self, ms: u64) -> Result<(), ChaosError> {
        switch(&self.file("slow"), (ms > 0).then(|| ms.to_string()))
    }

    /// Syncs fail from now on, or no more.
    pub(crate) fn fail_syncs(&self, fail: bool) -> Result<(), ChaosError> {
        switch(&self.file("syncs-fail"), fail.then(String::new))
    }

    /// Nothing of what was done to it goes on: it runs, with a whole disk and the right time.
    pub(crate) fn heal(&mut self, random: &mut Random) -> Result<(), ChaosError> {
        self.signal(Signal::CONT);
        self.set_clock(0)?;
        self.slow_disk(0)?;
        self.fail_syncs(false)?;
        self.disk.relieve();
        self.launch(random)
    }

    /// `estafette` with other arguments, as on this node's machine.
    pub(crate) fn command(&mut self, random: &mut Random) -> Result<Joining, ChaosError> {
        let plan = self.plan(random);
        let config = plan.configure()?;
        let mut command = plan.home.command(&plan.program);
        command.envs(plan.environment.iter().map(|(name, value)| (name, value)));
        Ok(Joining { command, data: plan.data, config })
    }
}

/// What the demonstration's accounts are.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    pub(crate) logins: Vec<crate::reader::Login>,
    pub(crate) addresses: Vec<String>,
}

/// A command that is about to be run on a node's machine.
pub(crate) struct Joining {
    pub(crate) command: std::process::Command,
    pub(crate) data: PathBuf,
    pub(crate) config: PathBuf,
}

/// Writes a file, or removes it.
fn switch(path: &Path, content: Option<String>) -> Result<(), ChaosError> {
    match content {
        Some(content) => fs::write(path, content).map_err(ChaosError::file(path)),
        None => {
            let _ = fs::remove_file(path);
            Ok(())
        }
    }
}

/// What a file has behind a place, up to its last end of a line, to which the place moves; all of it if it is shorter by now.
fn read_from(path: &Path, place: &mut u64) -> std::io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(path)?;
    if file.metadata()?.len() < *place {
        *place = 0;
    }
    file.seek(SeekFrom::Start(*place))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
    *place += text.len() as u64;
    Ok(text)
}
