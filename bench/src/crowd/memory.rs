//! Whether memory grows for good, that of the store apart: a line is laid through what was read in the second
//! half of a run.

use serde::Serialize;
use std::time::{Duration, Instant};

/// Readings of a run.
const READINGS: f64 = 240.0;
/// The shortest pause between two of them: reading it costs the server time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Runs that are shorter tell nothing: the store's own buffers have not been filled once.
const JUDGED_FROM: Duration = Duration::from_secs(20 * 60);
/// Growth by which a run fails. Arenas of the allocator come and go in steps as large.
const GROWTH_KIB_MAX: f64 = 32.0 * 1024.0;

/// Readings.
pub(super) struct Memory {
    began: Instant,
    pause: Duration,
    /// Seconds, KiB, sessions up to then.
    readings: Vec<(f64, f64, f64)>,
}

/// What they tell.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Trend {
    /// The run was long enough to judge by it.
    judged: bool,
    /// The line through the second half: what it grew by over that half, in KiB.
    growth_kib: f64,
    /// The same for one session that was ended, in bytes.
    growth_bytes_per_session: f64,
    /// The middle reading of each quarter, in KiB.
    quarters_kib: [f64; 4],
}

impl Trend {
    /// Says that it grows.
    pub(super) fn leak(&self) -> Option<String> {
        let grows = self.judged && self.growth_kib > GROWTH_KIB_MAX;
        grows.then(|| format!("memory: {:.0} KiB more over the second half", self.growth_kib))
    }
}

impl Memory {
    /// Of a run that is this long.
    pub(super) fn new(seconds: f64) -> Memory {
        let pause = Duration::from_secs_f64(seconds / READINGS).max(PAUSE_MIN);
        Memory { began: Instant::now(), pause, readings: Vec::new() }
    }

    /// Until the next reading.
    pub(super) fn pause(&self) -> Duration {
        let next = self.began + self.pause * u32::try_from(self.readings.len() + 1).unwrap_or(u32::MAX);
        next.saturating_duration_since(Instant::now())
    }

    /// A reading.
    pub(super) fn add(&mut self, kib: u64, sessions: u64) {
        self.readings.push((self.began.elapsed().as_secs_f64(), kib as f64, sessions as f64));
    }

    /// What they tell.
    pub(super) fn trend(&self) -> Trend {
        let half = self.readings.get(self.readings.len() / 2..).unwrap_or_default();
        let (Some(first), Some(last)) = (half.first(), half.last()) else { return Trend::default() };
        let growth_kib = slope(half) * (last.0 - first.0);
        Trend {
            judged: last.0 >= JUDGED_FROM.as_secs_f64(),
            growth_kib,
            growth_bytes_per_session: growth_kib * 1024.0 / (last.2 - first.2).max(1.0),
            quarters_kib: [0, 1, 2, 3].map(|quarter| self.quarter(quarter)),
        }
    }

    fn quarter(&self, quarter: usize) -> f64 {
        let at = |number| self.readings.len() * number / 4;
        let readings = self.readings.get(at(quarter)..at(quarter + 1)).unwrap_or_default();
        let mut kib: Vec<f64> = readings.iter().map(|reading| reading.1).collect();
        kib.sort_unstable_by(f64::total_cmp);
        kib.get(kib.len() / 2).copied().unwrap_or_default()
    }
}

/// KiB a second, by least squares.
fn slope(readings: &[(f64, f64, f64)]) -> f64 {
    let count = readings.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64, f64)) -> f64| readings.iter().map(of).sum::<f64>() / count;
    let (time, kib) = (mean(|reading| reading.0), mean(|reading| reading.1));
    let both: f64 = readings.iter().map(|reading| (reading.0 - time) * (reading.1 - kib)).sum();
    let own: f64 = readings.iter().map(|reading| (reading.0 - time).powi(2)).sum();
    both / own.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(kib: impl Fn(f64) -> f64) -> Memory {
        let mut memory = Memory::new(3_600.0);
        memory.readings = (0..240).map(|at| f64::from(at) * 15.0).map(|s| (s, kib(s), s * 100.0)).collect();
        memory
    }

    #[test]
    fn growth_is_told_from_ups_and_downs() {
        let waves = |second: f64| 300_000.0 + 20_000.0 * (second / 50.0).sin();
        assert_eq!(memory(waves).trend().leak(), None);
        let trend = memory(|second| waves(second) + 25.0 * second).trend();
        assert!(trend.leak().is_some(), "{trend:?}");
        assert!((trend.growth_bytes_per_session - 256.0).abs() < 40.0, "{trend:?}");
    }

    #[test]
    fn short_runs_are_not_judged() {
        let mut memory = Memory::new(20.0);
        memory.readings = (0..20).map(f64::from).map(|second| (second, second * 1e6, second)).collect();
        assert_eq!(memory.trend().leak(), None);
    }
}
