//! Passwords (SPEC D-12): rules, hashing (Argon2id, RFC 9106), checking, and random ones.
//!
//! All of this is slow on purpose or random, so it happens outside of [`crate::Directory::apply`], on
//! a thread that may block: commands carry the hash. An unknown user costs the same time as a known one.

use argon2::password_hash::{Output, PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use estafette_types::Username;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;

/// The fewest characters of a password.
pub const PASSWORD_MIN_CHARS: usize = 8;
/// The most bytes of a password that is looked at at all.
pub const PASSWORD_MAX_BYTES: usize = 256;
/// Length of a random password in characters: some 95 bits.
const RANDOM_CHARS: usize = 19;
/// Letters and digits that cannot be taken for one another; 32 of them, so a byte's low bits choose evenly.
const RANDOM_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// Working memories that are kept for the next check. An allocator would not give their pages back, and
/// would keep some for each thread that ever checked a password.
const MEMORIES_KEPT: usize = 2;
const COMMON: &str = include_str!("../data/common-passwords.txt");

/// An Argon2id hash in PHC form. Is shown nowhere, in no log either.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash(Box<str>);

impl PasswordHash {
    /// Takes a hash that was made elsewhere; [`PasswordHash::is_valid`] is asked when it is set.
    pub fn new(phc: &str) -> PasswordHash {
        PasswordHash(phc.into())
    }

    /// True for Argon2id in PHC form.
    pub fn is_valid(&self) -> bool {
        self.0.len() <= 512
            && argon2::PasswordHash::new(&self.0).is_ok_and(|parsed| {
                parsed.algorithm == argon2::ARGON2ID_IDENT && parsed.hash.is_some() && parsed.salt.is_some()
            })
    }

    /// The PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// What is wrong with a password that somebody wants to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Under [`PASSWORD_MIN_CHARS`].
    #[error("a password has at least 8 characters")]
    TooShort,
    /// Over [`PASSWORD_MAX_BYTES`].
    #[error("a password has at most 256 bytes")]
    TooLong,
    /// No letter.
    #[error("a password has at least one letter")]
    NoLetter,
    /// No digit.
    #[error("a password has at least one digit")]
    NoDigit,
    /// Characters that cannot be typed.
    #[error("a password has no control characters")]
    Control,
    /// The username, or an address of the account.
    #[error("the password must not be the username or the address")]
    IsUsername,
    /// In the list.
    #[error("this password is one of the most common ones")]
    Common,
}

impl PasswordProblem {
    /// A stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            PasswordProblem::TooShort => "password-too-short",
            PasswordProblem::TooLong => "password-too-long",
            PasswordProblem::NoLetter => "password-no-letter",
            PasswordProblem::NoDigit => "password-no-digit",
            PasswordProblem::Control => "password-control-character",
            PasswordProblem::IsUsername => "password-is-username",
            PasswordProblem::Common => "password-common",
        }
    }
}

/// Holds a new password against the rules. `names` are the account's addresses (and their local
/// parts), which it must not be either.
pub fn check_rules(
    password: &str,
    username: Option<&Username>,
    names: &[&str],
) -> Result<(), PasswordProblem> {
    if password.len() > PASSWORD_MAX_BYTES {
        return Err(PasswordProblem::TooLong);
    }
    let password = prepare(password);
    if password.chars().count() < PASSWORD_MIN_CHARS {
        return Err(PasswordProblem::TooShort);
    }
    if password.chars().any(char::is_control) {
        return Err(PasswordProblem::Control);
    }
    // Common ones are named as such, also those that the other rules would catch.
    let lower = password.to_lowercase();
    if username.is_some_and(|name| lower == name.as_str()) || names.iter().any(|n| n.to_lowercase() == lower)
    {
        return Err(PasswordProblem::IsUsername);
    }
    if COMMON.lines().any(|line| line == lower) {
        return Err(PasswordProblem::Common);
    }
    if !password.chars().any(char::is_alphabetic) {
        return Err(PasswordProblem::NoLetter);
    }
    if !password.chars().any(char::is_numeric) {
        return Err(PasswordProblem::NoDigit);
    }
    Ok(())
}

/// One form for what different keyboards make of the same password (RFC 8265 §4.2: other spaces
/// become the common one, then NFC).
fn prepare(password: &str) -> String {
    let space = |c: char| if c.is_whitespace() && !c.is_control() { ' ' } else { c };
    password.chars().map(space).nfc().collect()
}

/// How much work a hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Parameters {
    /// 19 MiB, two passes, one lane.
    fn default() -> Parameters {
        Parameters { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

/// Why hashing failed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// The parameters are out of range (RFC 9106 §3.1).
    #[error("the parameters of Argon2 are out of range: {0}")]
    Parameters(argon2::Error),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// Argon2 failed.
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    /// Over [`PASSWORD_MAX_BYTES`].
    #[error("a password has at most 256 bytes")]
    TooLong,
}

/// Makes and checks hashes with one set of parameters.
#[derive(Clone)]
pub struct Hasher {
    argon2: Argon2<'static>,
    parameters: Parameters,
    /// The hash that the password of an unknown user is held against.
    dummy: PasswordHash,
    memories: Arc<Mutex<Vec<Vec<Block>>>>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("parameters", &self.parameters).finish_non_exhaustive()
    }
}

impl Hasher {
    /// Takes the time of one hash.
    pub fn new(parameters: Parameters) -> Result<Hasher, HashError> {
        let params = Params::new(parameters.memory_kib, parameters.passes, parameters.lanes, None)
            .map_err(HashError::Parameters)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut hasher =
            Hasher { argon2, parameters, dummy: PasswordHash::new(""), memories: Arc::default() };
        hasher.dummy = hasher.hash(&random()?)?;
        Ok(hasher)
    }

    /// Hashes a password with a random salt; does not look at the rules. Blocks for the time of one hash.
    pub fn hash(&self, password: &str) -> Result<PasswordHash, HashError> {
        if password.len() > PASSWORD_MAX_BYTES {
            return Err(HashError::TooLong);
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(HashError::Random)?;
        let salt = SaltString::encode_b64(&salt).map_err(HashError::Hash)?;
        let hash = self.argon2.hash_password(prepare(password).as_bytes(), &salt).map_err(HashError::Hash)?;
        Ok(PasswordHash::new(&hash.to_string()))
    }

    /// Whether the password is the one of the hash. `None` (unknown user, or no password) takes as long
    /// and is always false. Blocks for the time of one hash.
    pub fn verify(&self, hash: Option<&PasswordHash>, password: &str) -> bool {
        let too_long = password.len() > PASSWORD_MAX_BYTES;
        let prepared = if too_long { String::new() } else { prepare(password) };
        let against = |hash: &PasswordHash| self.is_of(hash, prepared.as_bytes()).unwrap_or(false);
        match hash.filter(|hash| hash.is_valid()) {
            Some(hash) => against(hash) && !too_long,
            None => {
                std::hint::black_box(against(&self.dummy));
                false
            }
        }
    }

    /// Computes the hash again, in memory that is used again; `None` for a hash that cannot be read.
    fn is_of(&self, hash: &PasswordHash, password: &[u8]) -> Option<bool> {
        let parsed = argon2::PasswordHash::new(hash.as_str()).ok()?;
        let algorithm = Algorithm::try_from(parsed.algorithm).ok()?;
        let version = parsed.version.map_or(Ok(Version::V0x13), Version::try_from).ok()?;
        let params = Params::try_from(&parsed).ok()?;
        let expected = parsed.hash?;
        let mut salt = [0; 64];
        let salt = parsed.salt?.decode_b64(&mut salt).ok()?;
        let blocks = params.block_count();
        let mut memory = self.memories.lock().pop().unwrap_or_default();
        memory.resize(memory.len().max(blocks), Block::new());
        let argon2 = Argon2::new(algorithm, version, params);
        let computed = Output::init_with(expected.len(), |out| {
            let room = memory.get_mut(..blocks).unwrap_or_default();
            Ok(argon2.hash_password_into_with_memory(password, salt, out, room)?)
        });
        let mut kept = self.memories.lock();
        // One that an unusual hash needed is not kept.
        if kept.len() < MEMORIES_KEPT && memory.len() <= self.argon2.params().block_count() {
            kept.push(memory);
        }
        // Compares in constant time.
        Some(computed.ok()? == expected)
    }

    /// True when a hash was made with other parameters: set it again after the next good login.
    pub fn is_outdated(&self, hash: &PasswordHash) -> bool {
        let wanted = (self.parameters.memory_kib, self.parameters.passes, self.parameters.lanes);
        let made_with = argon2::PasswordHash::new(hash.as_str()).ok().and_then(|h| Params::try_from(&h).ok());
        made_with.is_none_or(|p| (p.m_cost(), p.t_cost(), p.p_cost()) != wanted)
    }
}

/// A random password that keeps the rules, in groups that can be read out (`abcd-efgh-…`).
pub fn random() -> Result<String, HashError> {
    loop {
        let mut bytes = [0; RANDOM_CHARS];
        getrandom::fill(&mut bytes).map_err(HashError::Random)?;
        let mut text = String::with_capacity(RANDOM_CHARS + RANDOM_CHARS / 5);
        for (place, byte) in bytes.iter().enumerate() {
            if place > 0 && place % 5 == 0 {
                text.push('-');
            }
            let letter = RANDOM_ALPHABET.get(usize::from(byte & 31)).copied().unwrap_or(b'x');
            text.push(char::from(letter));
        }
        if check_rules(&text, None, &[]).is_ok() {
            return Ok(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Little work, for tests.
    fn quick() -> Hasher {
        Hasher::new(Parameters { memory_kib: 8, passes: 1, lanes: 1 }).unwrap()
    }

    #[test]
    fn rules() {
        let name = Username::parse("example0001").unwrap();
        let check = |text: &str| check_rules(text, Some(&name), &["zoe.1999@example.org"]);
        assert_eq!(check("kilo7 bravo"), Ok(()));
        assert_eq!(check("пароль-для-7"), Ok(()));
        assert_eq!(check("abc1234"), Err(PasswordProblem::TooShort));
        assert_eq!(check("onlyletters"), Err(PasswordProblem::NoDigit));
        assert_eq!(check("8675309-555"), Err(PasswordProblem::NoLetter));
        assert_eq!(check("Example0001"), Err(PasswordProblem::IsUsername));
        assert_eq!(check("zoe.1999@EXAMPLE.org"), Err(PasswordProblem::IsUsername));
        assert_eq!(check("Password1"), Err(PasswordProblem::Common));
        assert_eq!(check("kilo7\u{0}bravo"), Err(PasswordProblem::Control));
        assert_eq!(check(&"a1".repeat(129)), Err(PasswordProblem::TooLong));
    }

    #[test]
    fn the_list_of_common_ones_is_in_form() {
        let mut seen = std::collections::BTreeSet::new();
        for line in COMMON.lines() {
            assert!(line.chars().count() >= PASSWORD_MIN_CHARS, "{line}");
            assert_eq!(line, line.to_lowercase());
            assert!(seen.insert(line), "{line} stands there twice");
        }
        assert!(seen.len() >= 300);
    }

    #[test]
    fn hashes_verify() {
        let hasher = quick();
        let hash = hasher.hash("kilo7 bravo").unwrap();
        assert!(hash.is_valid() && hash.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert!(hasher.verify(Some(&hash), "kilo7 bravo"));
        assert!(hasher.verify(Some(&hash), "kilo7\u{a0}bravo"));
        assert!(!hasher.verify(Some(&hash), "kilo7 bravo "));
        assert!(!hasher.verify(None, "kilo7 bravo"));
        assert_ne!(hash, hasher.hash("kilo7 bravo").unwrap());
        assert!(!hasher.is_outdated(&hash));
        let other = Hasher::new(Parameters { memory_kib: 16, passes: 1, lanes: 1 }).unwrap();
        assert!(other.is_outdated(&hash) && other.verify(Some(&hash), "kilo7 bravo"));
        assert!(!format!("{hash:?}").contains("argon2"));
    }

    #[test]
    fn other_hashes_are_not_taken() {
        for text in
            ["", "x", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ", "$argon2id$v=19$m=8,t=1,p=1"]
        {
            assert!(!PasswordHash::new(text).is_valid(), "{text}");
            assert!(!quick().verify(Some(&PasswordHash::new(text)), ""));
        }
        assert!(!quick().verify(Some(&quick().hash("").unwrap()), &"x".repeat(1_000)));
    }

    /// Composed and decomposed letters are the same password.
    #[test]
    fn one_form_of_letters() {
        let hasher = quick();
        let hash = hasher.hash("cafe\u{301} 2000").unwrap();
        assert!(hasher.verify(Some(&hash), "caf\u{e9} 2000"));
    }

    #[test]
    fn random_ones_keep_the_rules() {
        let made: std::collections::BTreeSet<String> = (0..100).map(|_| random().unwrap()).collect();
        assert_eq!(made.len(), 100);
        assert!(made.iter().all(|p| check_rules(p, None, &[]).is_ok()));
    }
}
