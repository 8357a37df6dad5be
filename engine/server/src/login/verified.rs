//! Credentials that were verified a short while ago: a client that comes back is known without Argon2.
//!
//! No password is kept. Of each account there is one keyed BLAKE3 hash over its identifier, its stored hash
//! and the password, under a key that is made at the start and stands nowhere else. So another stored hash
//! misses by construction, and whether the account may log in is asked of the directory every time; that
//! entries are dropped when an account changes is tidiness. Only who knows the password sees a hit: all
//! others are checked as if there were no cache, after as much work here whether the name exists or not.
//!
//! Must not be asked before the limits of failures were, and must not refuse anybody.

use crate::config::LoginConfig;
use blake3::Hash;
use estafette_directory::password::HashError;
use estafette_directory::{Change, Login, Witness};
use estafette_types::AccountId;
use metrics::Counter;
use quick_cache::sync::Cache;
use std::fmt;
use std::time::{Duration, Instant};
use zeroize::{Zeroize, Zeroizing};

/// Takes the place of a stored hash where there is none: as long as one that is made with the usual parameters.
const STAND_IN: [u8; 97] = [b'-'; 97];
/// Looked up for nobody: of no account, and nothing is kept of it.
const NOBODY: AccountId = AccountId(0);

/// The cache.
pub(crate) struct Verified {
    key: Zeroizing<[u8; 32]>,
    /// How long a credential is known; not renewed by its use.
    lifetime: Duration,
    /// `None` when it is turned off.
    entries: Option<Cache<AccountId, Entry>>,
    hits: Counter,
    misses: Counter,
}

#[derive(Clone)]
struct Entry {
    tag: Zeroizing<Hash>,
    until: Instant,
}

/// What somebody claims: an account, if there is one of that name, by a password.
pub(super) struct Credential {
    account: Option<AccountId>,
    tag: Zeroizing<Hash>,
}

impl Verified {
    /// An empty one with a key of its own.
    pub(super) fn new(config: &LoginConfig) -> Result<Verified, HashError> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut()).map_err(HashError::Random)?;
        let on = config.cache_seconds > 0 && config.cache_entries > 0;
        let counter =
            |outcome: &'static str| metrics::counter!("estafette_login_cache_total", "outcome" => outcome);
        Ok(Verified {
            key,
            lifetime: Duration::from_secs(config.cache_seconds),
            entries: on.then(|| Cache::new(config.cache_entries)),
            hits: counter("hit"),
            misses: counter("miss"),
        })
    }

    /// What is claimed; as much work for an unknown name as for a known one.
    pub(super) fn credential(&self, login: Option<&Login>, password: &str) -> Credential {
        let stored = login.and_then(Login::password_hash);
        let account = login.filter(|_| stored.is_some()).map(|login| login.account.id);
        let stored = stored.map_or(&STAND_IN[..], |hash| hash.as_str().as_bytes());
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&account.unwrap_or(NOBODY).0.to_le_bytes());
        hasher.update(&(stored.len() as u64).to_le_bytes());
        hasher.update(stored);
        hasher.update(password.as_bytes());
        let tag = Zeroizing::new(hasher.finalize());
        hasher.zeroize();
        Credential { account, tag }
    }

    /// Whether it was verified a short while ago.
    pub(super) fn knows(&self, credential: &Credential, now: Instant) -> bool {
        let account = credential.account.unwrap_or(NOBODY);
        let entry = self.entries.as_ref().and_then(|entries| entries.get(&account));
        let entry = entry.filter(|_| credential.account.is_some());
        // Hashes are compared in constant time.
        entry.is_some_and(|entry| (*entry.tag == *credential.tag) & (now < entry.until))
    }

    /// Keeps what was just verified, in place of what was known of the account.
    pub(super) fn remember(&self, credential: Credential, now: Instant) {
        if let (Some(entries), Some(account), Some(until)) =
            (&self.entries, credential.account, now.checked_add(self.lifetime))
        {
            entries.insert(account, Entry { tag: credential.tag, until });
        }
    }

    /// Counts how a login was found right or wrong.
    pub(super) fn count(&self, hit: bool) {
        if self.entries.is_some() {
            if hit { self.hits.increment(1) } else { self.misses.increment(1) }
        }
    }

    /// Drops what is too old.
    pub(super) fn expire(&self, now: Instant) {
        if let Some(entries) = &self.entries {
            entries.retain(|_, entry| now < entry.until);
        }
    }

    fn forget(&self, account: AccountId) {
        if let Some(entries) = &self.entries {
            entries.remove(&account);
        }
    }

    fn forget_all(&self) {
        if let Some(entries) = &self.entries {
            entries.clear();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, Cache::len)
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

impl Witness for Verified {
    fn applied(&self, change: &Change) {
        match change {
            Change::SetPassword { account, .. }
            | Change::ChangeAccount { account, .. }
            | Change::DeleteAccount { account } => self.forget(*account),
            Change::ChangeDomain { .. } | Change::DeleteDomain { .. } => self.forget_all(),
            _ => {}
        }
    }

    fn replaced(&self) {
        self.forget_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use estafette_directory::password::{Hasher, Parameters, PasswordHash};
    use estafette_directory::{Account, Role, Services};
    use estafette_types::Username;
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);

    fn cache(seconds: u64, entries: usize) -> Verified {
        let config = LoginConfig { cache_seconds: seconds, cache_entries: entries, ..LoginConfig::default() };
        Verified::new(&config).unwrap()
    }

    fn login(id: u64, hash: Option<&str>) -> Login {
        let account = Account {
            id: AccountId(id),
            username: Username::parse("example0001").unwrap(),
            domain: None,
            addresses: Vec::new(),
            real_name: "".into(),
            quota_bytes: None,
            password_hash: hash.map(PasswordHash::new),
            role: Role::Owner,
            services: Services::default(),
            disabled: false,
            locked: false,
            shard: None,
            redirection: None,
            group: None,
            created_ms: 0,
            password_ms: 0,
        };
        Login { account: Arc::new(account), bar: None }
    }

    fn remember(cache: &Verified, login: &Login, password: &str, now: Instant) {
        cache.remember(cache.credential(Some(login), password), now);
    }

    fn knows(cache: &Verified, login: &Login, password: &str, now: Instant) -> bool {
        cache.knows(&cache.credential(Some(login), password), now)
    }

    #[test]
    fn what_was_verified_is_known_until_its_time_is_over() {
        let (cache, now) = (cache(300, 10), Instant::now());
        let zoe = login(1, Some("hash"));
        assert!(!knows(&cache, &zoe, "kilo7 bravo", now));
        remember(&cache, &zoe, "kilo7 bravo", now);
        assert!(knows(&cache, &zoe, "kilo7 bravo", now + 299 * SECOND));
        assert!(!knows(&cache, &zoe, "kilo7 bravo", now + 300 * SECOND), "and a use has not renewed it");
        cache.expire(now + 299 * SECOND);
        assert_eq!(cache.len(), 1);
        cache.expire(now + 300 * SECOND);
        assert_eq!(cache.len(), 0);
    }

    #[test]
    fn anything_else_misses() {
        let (cache, now) = (cache(300, 10), Instant::now());
        remember(&cache, &login(1, Some("hash")), "kilo7 bravo", now);
        assert!(!knows(&cache, &login(1, Some("hash")), "kilo7 brav", now), "another password");
        assert!(!knows(&cache, &login(1, Some("hash2")), "kilo7 bravo", now), "another stored hash");
        assert!(!knows(&cache, &login(1, Some("hashk")), "ilo7 bravo", now), "the same bytes in a row");
        assert!(!knows(&cache, &login(1, None), "kilo7 bravo", now), "no stored hash any more");
        assert!(!knows(&cache, &login(2, Some("hash")), "kilo7 bravo", now), "another account");
        assert!(!cache.knows(&cache.credential(None, "kilo7 bravo"), now), "no account");
        assert!(knows(&cache, &login(1, Some("hash")), "kilo7 bravo", now), "they have put out nothing");
    }

    #[test]
    fn nothing_is_kept_of_nobody_and_of_an_account_without_a_password() {
        let (cache, now) = (cache(300, 10), Instant::now());
        cache.remember(cache.credential(None, "x"), now);
        remember(&cache, &login(1, None), "", now);
        assert_eq!(cache.len(), 0);
        assert!(!knows(&cache, &login(1, None), "", now));
    }

    /// For an unknown name nothing was hashed but the password.
    #[test]
    fn the_stand_in_is_as_long_as_a_stored_hash() {
        let LoginConfig { argon2_memory_kib: memory_kib, argon2_passes: passes, .. } = LoginConfig::default();
        let hasher = Hasher::new(Parameters { memory_kib, passes, lanes: 1 }).unwrap();
        assert_eq!(hasher.hash("kilo7 bravo").unwrap().as_str().len(), STAND_IN.len());
        let cache = cache(300, 10);
        let tags = [cache.credential(None, "x"), cache.credential(Some(&login(1, None)), "x")].map(|c| c.tag);
        assert_eq!(*tags[0], *tags[1], "the same for one that has no password");
        let stored = std::str::from_utf8(&STAND_IN).unwrap();
        assert_eq!(*tags[0], *cache.credential(Some(&login(0, Some(stored))), "x").tag);
    }

    #[test]
    fn there_are_no_more_than_allowed() {
        let (cache, now) = (cache(300, 16), Instant::now());
        for id in 1..=1000 {
            remember(&cache, &login(id, Some("hash")), "kilo7 bravo", now);
            assert!(cache.len() <= 16);
        }
        assert!(cache.len() >= 8, "but of use all the same: {}", cache.len());
    }

    #[test]
    fn two_processes_do_not_have_the_same_key() {
        let (one, two, zoe) = (cache(300, 10), cache(300, 10), login(1, Some("hash")));
        assert_ne!(*one.credential(Some(&zoe), "a").tag, *two.credential(Some(&zoe), "a").tag);
    }

    #[test]
    fn it_can_be_turned_off() {
        for cache in [cache(0, 10), cache(300, 0)] {
            let (zoe, now) = (login(1, Some("hash")), Instant::now());
            remember(&cache, &zoe, "kilo7 bravo", now);
            assert!(!knows(&cache, &zoe, "kilo7 bravo", now) && cache.len() == 0);
        }
    }

    #[test]
    fn changes_of_an_account_drop_it_and_those_of_a_domain_all() {
        use estafette_types::DomainId;
        let (cache, now) = (cache(300, 10), Instant::now());
        let account = AccountId(1);
        let fill = || {
            cache.forget_all();
            for id in [1, 2] {
                remember(&cache, &login(id, Some("hash")), "kilo7 bravo", now);
            }
            assert_eq!(cache.len(), 2);
        };
        for change in [
            Change::SetPassword { account, password_hash: None },
            Change::ChangeAccount { account, change: Default::default() },
            Change::DeleteAccount { account },
        ] {
            fill();
            cache.applied(&change);
            assert!(!knows(&cache, &login(1, Some("hash")), "kilo7 bravo", now), "{change:?}");
            assert_eq!(cache.len(), 1, "{change:?}");
        }
        fill();
        cache.applied(&Change::SetServices { account, services: Services::default() });
        assert_eq!(cache.len(), 2);
        cache.applied(&Change::DeleteDomain { domain: DomainId(1) });
        assert_eq!(cache.len(), 0);
        fill();
        cache.replaced();
        assert_eq!(cache.len(), 0);
    }
}
