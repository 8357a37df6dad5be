//! Who is it? Checks names and passwords, slows failures down, and counts them by address.
//!
//! A known and an unknown name take the same time. Failures are counted for the whole cluster in the
//! traffic group; an address with too many is refused without a look at the password. A failure counts
//! from the moment it is known, before it is shared: guesses made at once are no more than the limit
//! and those under check. Who was let in a short while ago is known again without a hash, on the thread of
//! the session ([`Verified`]).

mod verified;

#[cfg(test)]
pub(crate) mod tests;

use verified::{Credential, Verified};

use crate::config::LoginConfig;
use crate::engine::{Engine, now_ms};
use crate::machines::{Failures, TrafficCommand};
use estafette_directory::password::{HashError, Hasher, Parameters};
use estafette_directory::{Account, Login, Witness};
use estafette_raft::Proposal;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Addresses whose failures wait to be proposed; past it they are dropped until the next round.
const PENDING_ADDRESSES_MAX: usize = 100_000;
/// Pause in which failures are gathered into one proposal.
const GATHER: Duration = Duration::from_millis(200);
/// Pause between two looks for credentials that are known no longer.
const EXPIRE_PAUSE: Duration = Duration::from_secs(30);

/// Checks passwords, some at a time.
pub(crate) struct Logins {
    hasher: Hasher,
    places: Semaphore,
    verified: Arc<Verified>,
    pending: Mutex<HashMap<IpAddr, u32>>,
    config: LoginConfig,
}

/// How a login went.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is this account.
    Welcome(Arc<Account>),
    /// Unknown name or wrong password.
    Wrong,
    /// Right, but the account may not log in.
    Barred,
    /// Too many failures from this address.
    TooMany,
    /// It is wrong by what this node knows, and others cannot be asked whether that is all.
    Later,
}

impl Logins {
    pub(crate) fn new(config: &LoginConfig) -> Result<Logins, HashError> {
        let parameters =
            Parameters { memory_kib: config.argon2_memory_kib, passes: config.argon2_passes, lanes: 1 };
        Ok(Logins {
            hasher: Hasher::new(parameters)?,
            places: Semaphore::new(config.checks_at_once),
            verified: Arc::new(Verified::new(config)?),
            pending: Mutex::default(),
            config: config.clone(),
        })
    }

    /// For setting passwords.
    pub(crate) fn hasher(&self) -> Hasher {
        self.hasher.clone()
    }

    /// What the directory has to tell its changes to.
    pub(crate) fn witness(&self) -> Arc<dyn Witness> {
        Arc::clone(&self.verified) as _
    }

    fn window_ms(&self) -> u64 {
        self.config.failure_window_seconds.saturating_mul(1000).max(1000)
    }

    /// How long the answer to a failure is held back after so many before it.
    fn delay(&self, failures: u32) -> Duration {
        let doubled = self.config.failure_delay_ms.saturating_mul(1u64 << failures.min(16));
        Duration::from_millis(doubled.min(self.config.failure_delay_max_ms))
    }

    fn note_failure(&self, address: IpAddr) {
        let mut pending = self.pending.lock();
        if pending.len() < PENDING_ADDRESSES_MAX || pending.contains_key(&address) {
            *pending.entry(address).or_insert(0) += 1;
        }
    }

    /// What was noted was none, unless it was shared already.
    fn forgive_failure(&self, address: IpAddr) {
        self.shared(&[(address, 1)].into_iter().collect());
    }

    fn pending_of(&self, address: IpAddr) -> u32 {
        self.pending.lock().get(&address).copied().unwrap_or(0)
    }

    /// What waits to be shared; it stays until [`Logins::shared`], so that it counts all the time.
    fn to_share(&self) -> Failures {
        self.pending.lock().iter().map(|(address, count)| (*address, *count)).collect()
    }

    fn shared(&self, failures: &Failures) {
        let mut pending = self.pending.lock();
        for (address, count) in failures {
            if let Entry::Occupied(mut waiting) = pending.entry(*address) {
                *waiting.get_mut() = waiting.get().saturating_sub(*count);
                if *waiting.get() == 0 {
                    waiting.remove();
                }
            }
        }
    }
}

impl Engine {
    /// Checks a login; the answer to a failure comes late.
    pub(crate) async fn login(
        &self,
        service: &'static str,
        name: &str,
        password: &str,
        from: IpAddr,
    ) -> Outcome {
        let from = crate::machines::network(from);
        let logins = &self.logins;
        let before = self.failures_of(from);
        let outcome = if before >= logins.config.failures_per_address {
            Outcome::TooMany
        } else {
            self.check(name, password, from).await
        };
        let label = match &outcome {
            Outcome::Welcome(_) => "welcome",
            Outcome::Wrong => "wrong",
            Outcome::Barred => "barred",
            Outcome::TooMany => "too-many",
            Outcome::Later => "later",
        };
        metrics::counter!("estafette_logins_total", "service" => service, "outcome" => label).increment(1);
        match &outcome {
            Outcome::Welcome(account) => tracing::debug!(username = %account.username, "logged in"),
            Outcome::Barred | Outcome::Later => {}
            Outcome::Wrong | Outcome::TooMany => {
                tracing::info!(service, %from, outcome = label, failures = before + 1, "a login failed");
                tokio::time::sleep(logins.delay(before)).await;
            }
        }
        outcome
    }

    fn failures_of(&self, from: IpAddr) -> u32 {
        let shared = self.failures.count(from, now_ms(), self.logins.window_ms());
        shared.saturating_add(self.logins.pending_of(from))
    }

    async fn check(&self, name: &str, password: &str, from: IpAddr) -> Outcome {
        let logins = &self.logins;
        let (login, credential) = self.claim(name, password);
        if logins.verified.knows(&credential, Instant::now()) {
            logins.verified.count(true);
            return self.look_again(name, password, login.clone(), admitted(login)).await;
        }
        let Ok(place) = logins.places.acquire().await else { return Outcome::Wrong };
        // While this one waited for its place, others from there may have failed.
        if self.failures_of(from) >= logins.config.failures_per_address {
            return Outcome::TooMany;
        }
        // Or the same client was let in, which often connects several times at once.
        let (login, credential) = self.claim(name, password);
        let known = logins.verified.knows(&credential, Instant::now());
        logins.verified.count(known);
        let outcome = match known {
            true => admitted(login.clone()),
            false => self.judge(login.clone(), password, credential).await,
        };
        let wrong = matches!(outcome, Outcome::Wrong);
        if wrong {
            logins.note_failure(from);
        }
        drop(place);
        let outcome = self.look_again(name, password, login, outcome).await;
        if wrong && !matches!(outcome, Outcome::Wrong) {
            logins.forgive_failure(from);
        }
        outcome
    }

    /// Whom this node refused is looked at once more when it knows all that others know. That takes a second hash only
    /// if something has changed.
    async fn look_again(&self, name: &str, password: &str, before: Option<Login>, first: Outcome) -> Outcome {
        if matches!(first, Outcome::Welcome(_)) {
            return first;
        }
        if let Err(error) = self.fresh_directory().await {
            tracing::warn!(%error, "a login that this node refuses cannot be judged now");
            return Outcome::Later;
        }
        let (login, credential) = self.claim(name, password);
        let facts = |login: &Option<Login>| {
            login.as_ref().map(|login| (login.account.id, login.password_hash().cloned(), login.bar))
        };
        if facts(&before) == facts(&login) {
            return first;
        }
        let Ok(_place) = self.logins.places.acquire().await else { return first };
        self.judge(login, password, credential).await
    }

    async fn judge(&self, login: Option<Login>, password: &str, credential: Credential) -> Outcome {
        if !self.verify(login.as_ref(), password).await {
            return Outcome::Wrong;
        }
        let outcome = admitted(login);
        if matches!(outcome, Outcome::Welcome(_)) {
            self.logins.verified.remember(credential, Instant::now());
        }
        outcome
    }

    /// Who is meant, and what the cache knows it by.
    fn claim(&self, name: &str, password: &str) -> (Option<Login>, Credential) {
        let login = self.directory.read().login(name);
        let credential = self.logins.verified.credential(login.as_ref(), password);
        (login, credential)
    }

    /// Takes the time of one hash, for nobody too.
    async fn verify(&self, login: Option<&Login>, password: &str) -> bool {
        let hash = login.and_then(Login::password_hash).cloned();
        let (hasher, password) = (self.logins.hasher(), Zeroizing::new(password.to_owned()));
        let verified = tokio::task::spawn_blocking(move || hasher.verify(hash.as_ref(), &password));
        verified.await.unwrap_or(false)
    }
}

/// The password was right.
fn admitted(login: Option<Login>) -> Outcome {
    match login {
        None => Outcome::Wrong,
        Some(login) if login.bar.is_some() => Outcome::Barred,
        Some(login) => Outcome::Welcome(login.account),
    }
}

/// Drops credentials that are known no longer until the node stops.
pub(crate) async fn expire_verified(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(EXPIRE_PAUSE).await;
        engine.logins.verified.expire(Instant::now());
    }
}

/// Shares failures until the node stops.
pub(crate) async fn share_failures(engine: Arc<Engine>) {
    loop {
        tokio::time::sleep(GATHER).await;
        share_gathered(&engine).await;
    }
}

/// Proposes what was gathered to the traffic group.
pub(crate) async fn share_gathered(engine: &Engine) {
    let failures = engine.logins.to_share();
    if failures.is_empty() {
        return;
    }
    let command = TrafficCommand { window_ms: engine.logins.window_ms(), failures };
    let proposal = Proposal { command: command.encode().into(), bodies: Vec::new() };
    match engine.traffic.propose(proposal).await {
        Ok(_) => engine.logins.shared(&command.failures),
        Err(error) => tracing::warn!(%error, "failed logins could not be counted; they are tried again"),
    }
}
