//! Who is it? Checks names and passwords, slows failures down, and counts them by address.
//!
//! A known and an unknown name take the same time. Failures are counted for the whole cluster in the
//! traffic group; an address with too many is refused without a look at the password. A failure counts
//! from the moment it is known, before it is shared: guesses made at once are no more than the limit
//! and those under check.

use crate::config::LoginConfig;
use crate::engine::{Engine, now_ms};
use crate::machines::{Failures, TrafficCommand};
use estafette_directory::Account;
use estafette_directory::password::{HashError, Hasher, Parameters};
use estafette_raft::Proposal;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Addresses whose failures wait to be proposed; past it they are dropped until the next round.
const PENDING_ADDRESSES_MAX: usize = 100_000;
/// Pause in which failures are gathered into one proposal.
const GATHER: Duration = Duration::from_millis(200);

/// Checks passwords, some at a time.
pub(crate) struct Logins {
    hasher: Hasher,
    places: Semaphore,
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
}

impl Logins {
    pub(crate) fn new(config: &LoginConfig) -> Result<Logins, HashError> {
        let parameters =
            Parameters { memory_kib: config.argon2_memory_kib, passes: config.argon2_passes, lanes: 1 };
        Ok(Logins {
            hasher: Hasher::new(parameters)?,
            places: Semaphore::new(config.checks_at_once),
            pending: Mutex::default(),
            config: config.clone(),
        })
    }

    /// For setting passwords.
    pub(crate) fn hasher(&self) -> Hasher {
        self.hasher.clone()
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
        };
        metrics::counter!("estafette_logins_total", "service" => service, "outcome" => label).increment(1);
        match &outcome {
            Outcome::Welcome(account) => tracing::debug!(username = %account.username, "logged in"),
            Outcome::Barred => {}
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
        let Ok(_place) = self.logins.places.acquire().await else { return Outcome::Wrong };
        // While this one waited for its place, others from there may have failed.
        if self.failures_of(from) >= self.logins.config.failures_per_address {
            return Outcome::TooMany;
        }
        let login = self.directory.read().login(name);
        let hash = login.as_ref().and_then(|login| login.password_hash().cloned());
        let (hasher, password) = (self.logins.hasher(), password.to_owned());
        let verified = tokio::task::spawn_blocking(move || hasher.verify(hash.as_ref(), &password)).await;
        match (login, verified.unwrap_or(false)) {
            (Some(login), true) if login.bar.is_some() => Outcome::Barred,
            (Some(login), true) => Outcome::Welcome(login.account),
            _ => {
                self.logins.note_failure(from);
                Outcome::Wrong
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_until_it_is_shared_and_is_shared_once() {
        let config = LoginConfig { argon2_memory_kib: 8, argon2_passes: 1, ..LoginConfig::default() };
        let logins = Logins::new(&config).unwrap();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        logins.note_failure(address);
        logins.note_failure(address);
        let sharing = logins.to_share();
        assert_eq!(sharing, vec![(address, 2)]);
        assert_eq!(logins.pending_of(address), 2, "it counts while it is being shared");
        logins.note_failure(address);
        logins.shared(&sharing);
        assert_eq!(logins.to_share(), vec![(address, 1)]);
        logins.shared(&vec![(address, 1)]);
        assert!(logins.to_share().is_empty());
    }

    #[test]
    fn the_delay_doubles_up_to_its_limit() {
        let config = LoginConfig { argon2_memory_kib: 8, argon2_passes: 1, ..LoginConfig::default() };
        let logins = Logins::new(&config).unwrap();
        let ms = |failures| logins.delay(failures).as_millis();
        assert_eq!((ms(0), ms(1), ms(4), ms(5), ms(u32::MAX)), (500, 1_000, 8_000, 8_000, 8_000));
    }
}
