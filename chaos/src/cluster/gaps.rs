//! The time without service: between two successes of an account's clients.

use super::prober::Seen;
use crate::oracle::Account;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The longest time without a success of each account, from the begin to the end of the probes.
pub(crate) fn longest(seen: &[Seen], begin: Instant, end: Instant) -> Vec<Duration> {
    let mut times: BTreeMap<Account, Vec<Instant>> = BTreeMap::new();
    for client in seen {
        times.entry(client.account).or_default().extend(&client.successes);
    }
    let gap = |mut times: Vec<Instant>| {
        times.extend([begin, end]);
        times.sort_unstable();
        let pairs = times.windows(2).filter_map(|pair| pair.last()?.checked_duration_since(*pair.first()?));
        pairs.max().unwrap_or_default()
    };
    times.into_values().map(gap).collect()
}

/// The value that so many of a hundred do not exceed; 0 of none.
pub(crate) fn percentile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_successes_of_any_client() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let client = |account, times: &[u64]| Seen {
            account,
            successes: times.iter().map(|ms| at(*ms)).collect(),
            ..Seen::default()
        };
        let seen = [client(0, &[100, 900]), client(0, &[400, 1000]), client(1, &[])];
        let gaps = longest(&seen, begin, at(1200));
        assert_eq!(gaps, [Duration::from_millis(500), Duration::from_millis(1200)]);
    }

    #[test]
    fn percentiles() {
        let values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(
            (percentile(&values, 50), percentile(&values, 99), percentile(&values, 100)),
            (100, 198, 200)
        );
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (7, 0));
    }
}
