//! Keeps to a rate of bytes by pauses.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The longest pause for the rate until it is looked at again.
const RATE_PAUSE: Duration = Duration::from_millis(200);
/// Time in which nothing came that is made up for afterwards: that of a sync, or of a clock that wakes late.
const CREDIT: Duration = Duration::from_millis(50);

/// Spreads what many bring at once evenly over time, so that nobody else meets them all together.
#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes a second.
    rate: u64,
    /// When all that came until now is paid.
    paid_at: Mutex<Instant>,
}

impl Pacer {
    pub(super) fn new(rate: u64) -> Pacer {
        Pacer { rate, paid_at: Mutex::new(Instant::now()) }
    }

    /// So many bytes came: when the next may be asked for.
    pub(super) fn after(&self, bytes: u64) -> Instant {
        let now = Instant::now();
        let mut paid_at = self.paid_at.lock();
        let since = now.checked_sub(CREDIT).map_or(now, |earliest| earliest.max(*paid_at));
        *paid_at = since + time_of(bytes, self.rate).unwrap_or_default();
        *paid_at
    }
}

/// How long so many bytes take at a rate per second; `None` of no rate.
fn time_of(bytes: u64, rate: u64) -> Option<Duration> {
    bytes.saturating_mul(1_000_000).checked_div(rate).map(Duration::from_micros)
}

/// For so many bytes at a rate per second: how long to pause now, and what is paid with that. `None`: less is left than
/// can be waited for.
pub(super) fn pay(bytes: u64, rate: u64) -> Option<(Duration, u64)> {
    let pause = time_of(bytes, rate)?.min(RATE_PAUSE);
    let paid = u128::from(rate).saturating_mul(pause.as_micros()) / 1_000_000;
    let paid = u64::try_from(paid).unwrap_or(u64::MAX);
    (!pause.is_zero()).then_some((pause, paid.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_at_once_is_paid_one_after_the_other() {
        let (pacer, began) = (Pacer::new(1_000_000), Instant::now());
        tokio::time::sleep(Duration::from_secs(9)).await;
        for turn in 1..=4 {
            let made_up = began + Duration::from_secs(9) - CREDIT;
            assert_eq!(pacer.after(30_000), made_up + turn * Duration::from_millis(30));
        }
        tokio::time::sleep(Duration::from_millis(80)).await;
        assert_eq!(pacer.after(10_000), Instant::now(), "10 of 10 ms that were not used");
    }

    #[test]
    fn what_cannot_be_waited_for_is_not_paid_byte_by_byte() {
        let mib = 1024 * 1024;
        assert_eq!(pay(mib, mib), Some((RATE_PAUSE, mib / 5)));
        assert_eq!(pay(200, 200 * mib), None);
        assert_eq!(pay(0, mib), None);
        for rate in [1024, 4096 * 1024, 16 * 1024 * mib] {
            let (mut rest, mut pauses) = (256 * 1024_u64, 0);
            while let Some((_, paid)) = pay(rest, rate) {
                (rest, pauses) = (rest.saturating_sub(paid), pauses + 1);
            }
            assert!(pauses <= 6 * 256 * 1024 / rate + 2, "{pauses} pauses at {rate}");
        }
    }
}
