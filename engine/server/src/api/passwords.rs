//! Passwords on their way in: the rules, then the hash, on a thread that may block.

use super::{Api, Failure};
use estafette_directory::password::{PasswordHash, PasswordProblem, check_rules, random};
use estafette_types::Username;

/// What a request says about a password.
pub(super) type PasswordInput = Option<Option<String>>;

/// A password made ready to be set.
pub(super) struct Ready {
    /// `None`: nobody logs in.
    pub(super) hash: Option<PasswordHash>,
    /// One that was made here, to be shown once.
    pub(super) shown: Option<String>,
}

/// Whom a password is for; it must not be one of these names.
pub(super) struct Names<'a> {
    pub(super) username: Option<&'a Username>,
    /// Of the domain, when the username is not known yet.
    pub(super) prefix: Option<&'a str>,
    pub(super) addresses: Vec<String>,
}

impl Api {
    /// Nothing said: one is made; null: none; a text: that one, if it keeps the rules.
    pub(super) async fn password(&self, input: PasswordInput, names: Names<'_>) -> Result<Ready, Failure> {
        let (password, made) = match input {
            Some(None) => return Ok(Ready { hash: None, shown: None }),
            Some(Some(given)) => {
                check(&given, &names)?;
                (given, false)
            }
            None => (random()?, true),
        };
        let shown = made.then(|| password.clone());
        let hasher = self.engine.logins.hasher();
        let _place = self.hashes.acquire().await.map_err(|_| Failure::Unexpected)?;
        let hash = tokio::task::spawn_blocking(move || hasher.hash(&password)).await??;
        Ok(Ready { hash: Some(hash), shown })
    }
}

fn check(password: &str, names: &Names<'_>) -> Result<(), PasswordProblem> {
    let locals =
        names.addresses.iter().filter_map(|address| address.rsplit_once('@')).map(|(local, _)| local);
    let all: Vec<&str> = names.addresses.iter().map(String::as_str).chain(locals).collect();
    check_rules(password, names.username, &all)?;
    let lower = password.to_lowercase();
    let number = names.prefix.and_then(|prefix| lower.strip_prefix(prefix));
    match number {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => Err(PasswordProblem::IsUsername),
        _ => Ok(()),
    }
}
