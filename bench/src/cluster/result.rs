//! What the parts have found, as text and as JSON.

use super::{failover::Failover, idle::Idle, latency::Latency, throughput::Throughput, wipe::Wipe};
pub(super) use crate::report::Verdict;
use crate::report::{Head, text::number};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// All of it; parts that were not asked for are left out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) head: Head,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) throughput: Vec<Throughput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) latency: Option<Latency>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) idle: Vec<Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failover: Option<Failover>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wipe: Option<Wipe>,
    /// Parts that could not be measured, and why.
    pub(super) failures: Vec<String>,
}

impl Report {
    /// Without figures yet.
    pub(super) fn new(head: Head) -> Report {
        Report {
            head,
            throughput: Vec::new(),
            latency: None,
            idle: Vec::new(),
            failover: None,
            wipe: None,
            failures: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { date, commit, programs, machine } = &self.head;
        writeln!(f, "{date}, commit {commit}; {}\n{machine}\n", programs.join(", "))?;
        self.throughput.iter().try_for_each(|one| one.fmt(f))?;
        self.latency.iter().try_for_each(|one| one.fmt(f))?;
        self.idle.iter().try_for_each(|one| one.fmt(f))?;
        self.failover.iter().try_for_each(|one| one.fmt(f))?;
        self.wipe.iter().try_for_each(|one| one.fmt(f))?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "NOT MEASURED: {failure}"))
    }
}

/// How long many of the same took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Times {
    /// Of these; `None` of none.
    pub(super) fn of(times: impl IntoIterator<Item = Duration>) -> Option<Times> {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        // As many of a hundred take no longer.
        let ms = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1).min(last);
            times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
        };
        Some(Times { count: times.len(), p50_ms: ms(50), p99_ms: ms(99), max_ms: ms(100) })
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Times { count, p50_ms, p99_ms, max_ms } = *self;
        write!(
            f,
            "p50 {} ms, p99 {} ms, longest {} ms of {count}",
            number(p50_ms),
            number(p99_ms),
            number(max_ms)
        )
    }
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_rank() {
        let times = Times::of((1..=200).rev().map(Duration::from_millis)).unwrap();
        assert_eq!((times.p50_ms, times.p99_ms, times.max_ms, times.count), (100.0, 198.0, 200.0, 200));
        assert_eq!(Times::of([]), None);
        let one = Times::of([Duration::from_millis(7)]).unwrap();
        assert_eq!((one.p50_ms, one.max_ms), (7.0, 7.0));
    }

    #[test]
    fn figures_are_judged_from_both_sides() {
        assert_eq!(Verdict::at_least(Some(0.5), 0.3), Verdict::Reached);
        assert_eq!(Verdict::at_most(Some(0.5), 0.3), Verdict::Missed);
        assert_eq!(Verdict::at_most(Some(0.3), 0.3), Verdict::Reached);
        assert_eq!(Verdict::at_most(None, 0.3), Verdict::Unmeasured);
    }
}
