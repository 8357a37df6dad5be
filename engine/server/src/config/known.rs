//! Finds keys that do not exist, and the nearest that does.

use super::{CertificateConfig, Config, ConfigError};
use toml::{Table, Value};

/// How unlike a key may be to still be proposed: this share of its length may differ.
const LIKENESS_MIN: f64 = 0.6;

/// Every key that there is, in dotted form, with the sections themselves.
pub(super) fn keys() -> Vec<String> {
    let mut config = Config::default();
    config.tls.certificates.push(CertificateConfig::default());
    let mut keys = Vec::new();
    if let Ok(table) = Table::try_from(&config) {
        collect("", &table, &mut keys);
    }
    keys
}

/// An error for the first key that does not exist.
pub(super) fn check(table: &Table) -> Result<(), ConfigError> {
    let known = keys();
    let mut given = Vec::new();
    collect("", table, &mut given);
    match given.into_iter().find(|key| !known.contains(key)) {
        None => Ok(()),
        Some(key) => {
            let score = |candidate: &&String| {
                let last = |k: &str| k.rsplit('.').next().unwrap_or_default().to_owned();
                let whole = strsim::normalized_damerau_levenshtein(candidate, &key);
                whole.max(strsim::normalized_damerau_levenshtein(&last(candidate), &last(&key)) * 0.99)
            };
            let nearest = known
                .iter()
                .max_by(|a, b| score(a).total_cmp(&score(b)))
                .filter(|best| score(best) >= LIKENESS_MIN)
                .cloned();
            Err(ConfigError::Unknown { key, nearest })
        }
    }
}

fn collect(prefix: &str, table: &Table, keys: &mut Vec<String>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        keys.push(key.clone());
        match value {
            Value::Table(inner) => collect(&key, inner, keys),
            Value::Array(items) => {
                for item in items {
                    if let Value::Table(inner) = item {
                        collect(&key, inner, keys);
                    }
                }
            }
            _ => {}
        }
    }
}
