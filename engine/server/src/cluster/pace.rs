//! Keeps to a rate of bytes by pauses.

use std::time::Duration;

/// The longest pause for the rate until it is looked at again.
const RATE_PAUSE: Duration = Duration::from_millis(200);

/// For so many bytes at a rate per second: how long to pause now, and what is paid with that. `None`: less is left than
/// can be waited for.
pub(super) fn pay(bytes: u64, rate: u64) -> Option<(Duration, u64)> {
    let micros = bytes.saturating_mul(1_000_000).checked_div(rate)?;
    let pause = Duration::from_micros(micros).min(RATE_PAUSE);
    let paid = u128::from(rate).saturating_mul(pause.as_micros()) / 1_000_000;
    let paid = u64::try_from(paid).unwrap_or(u64::MAX);
    (!pause.is_zero()).then_some((pause, paid.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
