//! A soak: sessions of all protocols end in every state and in every way, for long; then everything that the
//! server held for them has to be given back.
//!
//! What is compared is counted while nobody is connected: after a warm-up, when caches and pools are as full as
//! they get, and in the end. Memory, which never returns to the same figure, is judged by what it grew by over
//! the second half of the run, and only in runs that are long enough for that.

use super::counts::{Counts, SERVICES};
use super::memory::{Memory, Trend};
use super::node::{Account, Node, NodeOptions};
use super::script::{Author, Script, Step};
use super::wire::{Ending, Heard, Tls, Wire};
use crate::error::BenchError;
use crate::load::Target;
use crate::message::{Dice, Messages};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The part of the whole that is warm-up.
const WARM_UP: f64 = 0.15;
/// The longest that the server may take to give everything back; its own limits for lingering, and the threads
/// of pools that end when they are not needed, are far below.
const REST_MAX: Duration = Duration::from_secs(60);
/// A session of a soak that takes longer hangs: the server does not say what it owes.
const SESSION_MAX: Duration = Duration::from_secs(60);
/// The longest that nothing is read.
const DEAF_MS: usize = 800;
/// The longest that a session waits before its end.
const PAUSE_MS: usize = 200;
/// How long it is tried to fill every buffer.
const FLOOD_MAX: Duration = Duration::from_millis(800);
/// Of so many sessions one fills a mailbox, and of so many one empties it.
const FILL_ODDS: usize = 60;
const TIDY_ODDS: usize = 200;
/// Bodies go soon after their last message, or the disk would fill. Passwords of few accounts are known.
/// Small caches are full early: what grows after that is no cache.
const SETTINGS: &str =
    "[storage]\ncollect_after_seconds = 30\ncache_bytes = 33554432\nstructures_cache_bytes = 8388608\n";

/// Connects, and ends sessions in every state, over and over; fails when the server keeps anything of them.
#[derive(Args, Clone, Debug)]
pub(crate) struct Soak {
    #[command(flatten)]
    node: NodeOptions,
    /// How long, without the rests.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// What the choices are made from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sessions at the same time.
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// The longest pause of a client between two sessions; more spare the machine.
    #[arg(long, default_value_t = 20)]
    pause_ms: usize,
    /// Accounts that are used.
    #[arg(long, default_value_t = 20)]
    accounts: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct SoakResult {
    io: String,
    seed: u64,
    tally: Tally,
    /// At rest after the warm-up.
    before: Counts,
    /// At rest in the end.
    after: Counts,
    /// How long it took until everything was given back, or was waited for in vain.
    rest_seconds: f64,
    memory: Trend,
    /// What the server kept, in words; nothing, when it is well.
    leaks: Vec<String>,
}

/// What the clients did.
#[derive(Debug, Default, Serialize)]
struct Tally {
    sessions: u64,
    /// Sessions by the state that they were ended in.
    ended_in: BTreeMap<&'static str, u64>,
    /// Sessions that went to their end.
    whole: u64,
    /// What the server said in place of what was awaited.
    refusals: BTreeMap<String, u64>,
    /// Sessions in which the server did not say what it owed.
    hung: BTreeMap<String, u64>,
}

struct Shared {
    services: Vec<(&'static str, SocketAddr)>,
    accounts: Vec<Account>,
    tls: Tls,
    tally: Mutex<Tally>,
    pause_ms: usize,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a session went: to its end, or to a step at which it was ended, or what came between.
type Ended = Result<bool, Heard>;

impl Tally {
    /// A session, and the state that it was in at last; `None` if it hung.
    fn add(&mut self, service: &str, state: &'static str, ended: Option<Ended>) {
        self.sessions += 1;
        match ended {
            Some(Ok(true)) => self.whole += 1,
            Some(Ok(false)) => *self.ended_in.entry(state).or_default() += 1,
            Some(Err(Heard::Refusal(said) | Heard::End(said))) => {
                *self.refusals.entry(format!("{service}, {state}: {said}")).or_default() += 1;
            }
            Some(Err(Heard::Silence)) | None => {
                *self.hung.entry(format!("{service}, {state}")).or_default() += 1;
            }
        }
    }
}

impl Soak {
    /// Runs it; whether nothing leaked.
    pub(crate) async fn run(self) -> Result<(), BenchError> {
        let node = Node::start(&self.node, self.accounts, SETTINGS)?;
        let (connector, name) = Target::tls("127.0.0.1:0").connector(true)?;
        let mut services = Vec::new();
        for service in SERVICES {
            services.push((service, node.address(service)?));
        }
        let shared = Arc::new(Shared {
            services,
            accounts: node.accounts(),
            tls: Tls { connector, name },
            tally: Mutex::default(),
            pause_ms: self.pause_ms,
        });
        let seconds = self.minutes * 60.0;
        let fresh = Counts::of(&node).await?;
        let mut memory = Memory::new(seconds);
        self.clients(&shared, &node, seconds * WARM_UP, &mut memory).await?;
        // Threads of pools are no yardstick here: it is not waited until they end.
        let (before, _) = rest(&node, &Counts { others: usize::MAX, threads: u64::MAX, ..fresh }).await?;
        memory = Memory::new(seconds);
        self.clients(&shared, &node, seconds * (1.0 - WARM_UP), &mut memory).await?;
        let (after, rested) = rest(&node, &before).await?;
        let tally = std::mem::take(&mut *shared.tally());
        let memory = memory.trend();
        let mut leaks = leaks(&before, &after);
        leaks.extend(memory.leak());
        if !tally.hung.is_empty() {
            leaks.push(format!("sessions hung: {:?}", tally.hung));
        }
        let io = node.io();
        let failed = !leaks.is_empty();
        let rest_seconds = rested.as_secs_f64();
        let result = SoakResult { io, seed: self.seed, tally, before, after, rest_seconds, memory, leaks };
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&result)?)?;
        if failed { Err(BenchError::Leak(result.leaks.join(", "))) } else { Ok(()) }
    }

    /// Lets the clients run for so long, and reads the memory meanwhile.
    async fn clients(
        &self,
        shared: &Arc<Shared>,
        node: &Node,
        seconds: f64,
        memory: &mut Memory,
    ) -> Result<(), BenchError> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut clients = JoinSet::new();
        for number in 0..self.sessions {
            let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
            clients.spawn(client(Arc::clone(shared), number, seed, end));
        }
        loop {
            match tokio::time::timeout(memory.pause(), clients.join_next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(ended)) => ended?,
                Err(_) => {
                    let counts = Counts::of(node).await?;
                    let sessions = shared.tally().sessions;
                    memory.add(counts.pss_kib.saturating_sub(counts.store_kib), sessions);
                    let line = serde_json::to_string(&counts)?;
                    writeln!(std::io::stderr(), "{sessions} sessions: {line}")?;
                }
            }
        }
    }
}

/// Waits until the server holds nothing that it did not hold at an earlier rest, as long as that may take.
async fn rest(node: &Node, earlier: &Counts) -> Result<(Counts, Duration), BenchError> {
    let began = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let counts = Counts::of(node).await?;
        if counts.rests(earlier) || began.elapsed() > REST_MAX {
            return Ok((counts, began.elapsed()));
        }
    }
}

/// What is held in the end beyond what was held before.
fn leaks(before: &Counts, after: &Counts) -> Vec<String> {
    let pairs = [
        ("connections", 0, after.connections as u64),
        ("sessions", 0, after.sessions),
        ("watches", before.watches, after.watches),
        ("sockets", before.sockets as u64, after.sockets as u64),
        ("other descriptors", before.others as u64, after.others as u64),
        ("files", before.files as u64, after.files as u64),
        ("threads", before.threads_max(), after.threads),
    ];
    let more = pairs.into_iter().filter(|(_, before, after)| after > before);
    more.map(|(what, before, after)| format!("{what}: {after}, not {before}")).collect()
}

async fn client(shared: Arc<Shared>, number: usize, seed: u64, end: Instant) {
    let (mut dice, mut messages) = (Dice::new(seed), Messages::new(number));
    while Instant::now() < end {
        let (service, script) = choose(&shared, &mut dice, &mut messages);
        let Some((_, address)) = shared.services.iter().find(|(name, _)| *name == service) else { return };
        let mut state = "connect";
        let session = session(&shared, *address, number, script, &mut dice, &mut state);
        let ended = tokio::time::timeout(SESSION_MAX, session).await;
        shared.tally().add(service, state, ended.ok());
        wait(&mut dice, shared.pause_ms).await;
    }
}

/// Where to connect to, and what to say there.
fn choose(shared: &Shared, dice: &mut Dice, messages: &mut Messages) -> (&'static str, Script) {
    let service = shared.services.get(dice.below(shared.services.len())).map_or("imap", |(name, _)| *name);
    let Some(account) = shared.accounts.get(dice.below(shared.accounts.len())) else {
        return (service, Script::new());
    };
    let (fills, tidies) = (dice.below(FILL_ODDS) == 0, dice.below(TIDY_ODDS) == 0);
    let mut author = Author { dice, messages, account };
    match (fills, tidies) {
        (true, _) => ("lmtp", author.fill()),
        (_, true) => ("imap", author.tidy()),
        _ => (service, author.script(service)),
    }
}

/// One session, up to a step by chance; keeps the state that it is in.
async fn session(
    shared: &Shared,
    address: SocketAddr,
    number: usize,
    script: Script,
    dice: &mut Dice,
    in_state: &mut &'static str,
) -> Ended {
    let cut = if dice.below(4) == 0 { script.len() } else { dice.below(script.len() + 1) };
    let mut wire = Wire::open(address, number).await?;
    let mut whole = true;
    for (at, (state, step)) in script.into_iter().enumerate() {
        *in_state = state;
        if at == cut {
            whole = false;
            // The server may have ended it first.
            let _ = part(shared, &mut wire, &step, dice).await;
            break;
        }
        match step {
            Step::Await(line) => wire.line(line).await?,
            Step::Send(bytes) => wire.send(&bytes).await?,
            Step::Tls => wire = wire.handshake(&shared.tls).await?,
            Step::Deaf => wait(dice, DEAF_MS).await,
            Step::Flood(command) => {
                whole = false;
                flood(&mut wire, command).await;
            }
        }
    }
    if !whole {
        wait(dice, PAUSE_MS).await;
    }
    let ending = match dice.below(3) {
        0 => Ending::Close,
        1 => Ending::Reset,
        _ => Ending::HalfClose,
    };
    match wire.end(ending).await {
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Heard::Silence),
        // The other side may have ended it first.
        _ => Ok(whole),
    }
}

/// Does a step in part.
async fn part(shared: &Shared, wire: &mut Wire, step: &Step, dice: &mut Dice) -> std::io::Result<()> {
    match step {
        Step::Await(_) => Ok(()),
        Step::Send(bytes) => wire.send(beginning(bytes, dice)).await,
        Step::Tls => {
            let mut hello = shared.tls.hello()?;
            if let Some(byte) = hello.get_mut(dice.below(1_000)) {
                *byte = !*byte;
            }
            wire.send(beginning(&hello, dice)).await
        }
        Step::Deaf => {
            wait(dice, DEAF_MS).await;
            Ok(())
        }
        Step::Flood(command) => wire.send(beginning(command, dice)).await,
    }
}

fn beginning<'a>(bytes: &'a [u8], dice: &mut Dice) -> &'a [u8] {
    bytes.get(..dice.below(bytes.len() + 1)).unwrap_or_default()
}

/// Sends until nothing goes any more.
async fn flood(wire: &mut Wire, command: &[u8]) {
    let commands = command.repeat(1_000);
    let sending = async { while wire.send(&commands).await.is_ok() {} };
    let _ = tokio::time::timeout(FLOOD_MAX, sending).await;
}

async fn wait(dice: &mut Dice, max_ms: usize) {
    let ms = dice.below(max_ms + 1) as u64;
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
