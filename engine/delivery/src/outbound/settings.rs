//! How mail for other servers is sent, and when it is tried again.

use super::claims::ClaimSettings;
use crate::queue::{Item, ItemId};
use estafette_smtp::Secret;
use estafette_smtp::client::{ClientConfig, ClientTimes, Login, TlsPolicy};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How the relay is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RelayTls {
    /// In plain.
    None,
    /// STARTTLS when it is offered, with any certificate; in plain when its handshake fails.
    #[default]
    StartTls,
    /// STARTTLS, or nothing is sent.
    Required,
    /// TLS from the first byte.
    Implicit,
}

/// The server that takes mail for other servers.
#[derive(Clone)]
pub struct RelayTarget {
    /// Its name or address; what its certificate is checked against.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: RelayTls,
    /// PEM file of the authorities that its certificate is checked by under [`RelayTls::Required`] and
    /// [`RelayTls::Implicit`]; `None`: any certificate is taken.
    pub authorities: Option<PathBuf>,
    /// Login name and password.
    pub login: Option<(String, String)>,
    /// Connections at the same time, at least one.
    pub connections_max: usize,
    /// The name said in EHLO.
    pub hostname: String,
    /// For a connection to come about.
    pub connect_timeout: Duration,
    /// For its replies.
    pub times: ClientTimes,
}

/// Without the password.
impl fmt::Debug for RelayTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayTarget")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("authorities", &self.authorities)
            .field("login", &self.login.as_ref().map(|(name, _)| name))
            .field("connections_max", &self.connections_max)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

impl RelayTarget {
    /// With STARTTLS where it is offered, no login, 20 connections.
    pub fn new(host: impl Into<String>, port: u16, hostname: impl Into<String>) -> RelayTarget {
        RelayTarget {
            host: host.into(),
            port,
            tls: RelayTls::StartTls,
            authorities: None,
            login: None,
            connections_max: 20,
            hostname: hostname.into(),
            connect_timeout: Duration::from_secs(30),
            times: ClientTimes::default(),
        }
    }

    /// Settings of the client machine; `plain`: after a failed handshake.
    pub(super) fn client(&self, plain: bool) -> ClientConfig {
        let mut config = ClientConfig::new(self.hostname.clone());
        config.tls = match self.tls {
            _ if plain => TlsPolicy::Never,
            RelayTls::None => TlsPolicy::Never,
            RelayTls::StartTls => TlsPolicy::Opportunistic,
            RelayTls::Required => TlsPolicy::Required,
            RelayTls::Implicit => TlsPolicy::Implicit,
        };
        let login = |(name, password): &(String, String)| Login {
            username: name.clone(),
            password: Secret(password.clone()),
        };
        config.login = self.login.as_ref().map(login);
        // Whoever sets a login and no TLS wants this.
        config.login_without_tls = self.tls == RelayTls::None;
        config.times = self.times;
        config
    }
}

/// A pause is longer by up to this part of it.
const LONGER_PART: u64 = 4;
/// Clocks of nodes that are right differ by less.
pub(super) const CLOCKS_DIFFER_MS: u64 = 10_000;

/// When an item is tried again, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The pause after a first failed attempt; it doubles with each further one.
    pub retry_first: Duration,
    /// The longest pause between two attempts.
    pub retry_max: Duration,
    /// After this, what could not be sent is returned to its sender.
    pub lifetime: Duration,
    /// After this, the sender is told that the message is late; `None`: never.
    pub delay_notice: Option<Duration>,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            retry_first: Duration::from_secs(60),
            retry_max: Duration::from_secs(2 * 3600),
            lifetime: Duration::from_secs(5 * 24 * 3600),
            delay_notice: Some(Duration::from_secs(4 * 3600)),
        }
    }
}

impl Schedule {
    /// When to try after attempt number `attempt` (from 1), at the latest at the next of the item's own
    /// moments. The pause is up to a quarter longer, so that items that failed together part.
    pub(crate) fn next_ms(&self, id: ItemId, item: &Item, attempt: u32, now_ms: u64) -> u64 {
        let pause = self.pause_ms(attempt);
        let longer = u128::from(pause / LONGER_PART);
        let jitter = longer * u128::from(id.spread(attempt)) / u128::from(u32::MAX);
        let pause = pause.saturating_add(u64::try_from(jitter).unwrap_or(0));
        now_ms.saturating_add(pause).min(self.moment_ms(item, now_ms))
    }

    /// The pause after so many attempts, without what it is longer by.
    fn pause_ms(&self, attempts: u32) -> u64 {
        let doubled =
            2u64.saturating_pow(attempts.saturating_sub(1)).saturating_mul(ms(self.retry_first).max(1));
        doubled.min(ms(self.retry_max).max(1))
    }

    /// The next moment at which something has to happen whatever the attempts: the delay notice, the end.
    pub(crate) fn moment_ms(&self, item: &Item, now_ms: u64) -> u64 {
        let delay = self.delay_ms(item).filter(|delay| *delay > now_ms);
        let end = Some(self.end_ms(item)).filter(|end| *end > now_ms);
        // Past the end nothing waits but what could not be written down.
        delay.into_iter().chain(end).min().unwrap_or(now_ms.saturating_add(ms(self.retry_max)))
    }

    /// It waits for longer than after an attempt: for a time of a clock that was ahead. Not of an item that waits for a relay.
    pub(crate) fn waits_too_long(&self, item: &Item, now_ms: u64) -> bool {
        let pause = if item.attempts == 0 { 0 } else { self.pause_ms(item.attempts) };
        let pause_max = pause.saturating_add(pause / LONGER_PART);
        item.next_ms > now_ms.saturating_add(pause_max).saturating_add(CLOCKS_DIFFER_MS)
    }

    /// When the item is given up.
    pub(crate) fn end_ms(&self, item: &Item) -> u64 {
        item.created_ms.saturating_add(ms(self.lifetime))
    }

    /// When its sender is told that it is late, unless that was done.
    pub(crate) fn delay_ms(&self, item: &Item) -> Option<u64> {
        let delay = self.delay_notice.filter(|delay| !delay.is_zero() && *delay < self.lifetime)?;
        (!item.delay_told).then(|| item.created_ms.saturating_add(ms(delay)))
    }
}

/// All that a [`super::Sender`] is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This server's name, in notices.
    pub hostname: String,
    /// Where mail for other servers goes; `None`: it waits.
    pub relay: Option<RelayTarget>,
    /// When it is tried again.
    pub schedule: Schedule,
    /// How items are kept from being sent by two nodes.
    pub claims: ClaimSettings,
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::tests::item;
    use proptest::prelude::*;

    #[test]
    fn the_password_is_not_shown() {
        let mut relay = RelayTarget::new("mx.example.net", 25, "mx.example.org");
        relay.login = Some(("user".into(), "geheim".into()));
        let shown = format!("{relay:?} {:?}", relay.client(false));
        assert!(shown.contains("user") && !shown.contains("geheim"), "{shown}");
    }

    fn schedule() -> Schedule {
        Schedule {
            retry_first: Duration::from_secs(60),
            retry_max: Duration::from_secs(7200),
            lifetime: Duration::from_secs(100_000),
            delay_notice: Some(Duration::from_secs(14_400)),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let (id, mut item) = (ItemId([3; 16]), item(vec![]));
        item.delay_told = true;
        let mut now_ms = 0;
        let mut pauses = Vec::new();
        for attempt in 1..13 {
            let next_ms = schedule().next_ms(id, &item, attempt, now_ms);
            assert_eq!(next_ms, schedule().next_ms(id, &item, attempt, now_ms), "always the same");
            pauses.push((next_ms - now_ms) / 1000);
            now_ms = next_ms;
        }
        for (pause, doubled) in
            pauses.iter().zip([60, 120, 240, 480, 960, 1920, 3840, 7200, 7200, 7200, 7200])
        {
            assert!((doubled..=doubled + doubled / 4).contains(pause), "{pauses:?}");
        }
        let other = schedule().next_ms(ItemId([4; 16]), &item, 7, 0);
        assert_ne!(other, schedule().next_ms(id, &item, 7, 0), "items that failed together part");
    }

    /// An item that a clock which was ahead by a day put into the queue waited for a day.
    #[test]
    fn what_waits_for_a_time_of_a_wrong_clock_is_told() {
        let (mut item, now_ms, day) = (item(vec![]), 1_000_000_000, 24 * 3_600_000);
        let mut waits = |attempts, next_ms| {
            (item.attempts, item.next_ms) = (attempts, next_ms);
            schedule().waits_too_long(&item, now_ms)
        };
        assert!(waits(0, now_ms + day) && waits(3, now_ms + day) && waits(0, now_ms + 60_000));
        assert!(waits(1, now_ms + 3_600_000) && !waits(1, now_ms + 75_000));
        assert!(
            !waits(0, 0)
                && !waits(0, now_ms + 1000)
                && !waits(9, now_ms + 9_000_000)
                && !waits(0, now_ms - day)
        );
    }

    #[test]
    fn its_own_moments_are_not_missed() {
        let (id, mut item) = (ItemId([3; 16]), item(vec![]));
        item.created_ms = 1000;
        assert_eq!(schedule().next_ms(id, &item, 20, 14_000_000), 14_401_000, "the delay notice");
        assert_eq!(schedule().next_ms(id, &item, 20, 99_000_000), 100_001_000, "the end");
        item.delay_told = true;
        assert!(schedule().next_ms(id, &item, 20, 14_000_000) >= 21_200_000);
        let never = Schedule { delay_notice: Some(Duration::ZERO), ..schedule() };
        assert_eq!(never.delay_ms(&item), None);
    }

    proptest! {
        #[test]
        fn the_next_attempt_is_always_later(attempt: u32, now_ms in 0..u64::MAX / 2, created_ms in 0..u64::MAX / 2) {
            let mut item = item(vec![]);
            item.created_ms = created_ms;
            prop_assert!(schedule().next_ms(ItemId([1; 16]), &item, attempt, now_ms) > now_ms);
        }
    }
}
