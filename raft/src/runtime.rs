//! openraft on tokio, with the clocks of all groups in step.
//!
//! openraft looks at the time for each group ten times in a second, at moments that it spreads evenly. With a few hundred
//! groups the processor is woken for each of them, and each heartbeat is a write, a packet and a wake-up of the peer: that is
//! most of what idle groups cost. Here a group has its look twice from one heartbeat to the next, at one of a few moments
//! that many groups share, so that also their heartbeats go together.
//!
//! Invariants: nothing comes sooner than it was asked for, but for some microseconds, and no more than half the time between
//! heartbeats later; what is near at hand is not put off.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::{AsyncRuntime, Instant as _, OptionalSend, TokioInstant};
use tokio::time::Instant;

#[allow(deprecated)] // The same type as in `openraft-rt-tokio`, without one more dependency.
type Tokio = openraft::impls::TokioRuntime;

/// Looks of a group from one heartbeat to the next.
const LOOKS: u32 = 2;
/// Moments that groups are spread over, from one look of a group to its next.
const MOMENTS: u32 = 10;
/// What is waited for no longer than this is not put off.
const NEAR: Duration = Duration::from_millis(1);
/// What is as near as this is there already: a timer of tokio would make a millisecond of it. openraft waits for a
/// microsecond before it hears that entries are on the disk, if that comes right after what it heard before.
const THERE: Duration = Duration::from_micros(50);
/// A time so long ago is past for tokio's timers, whose clock goes in milliseconds and may be late.
const PAST: Duration = Duration::from_secs(1);

/// The looks count from this.
static FIRST: OnceLock<Instant> = OnceLock::new();
/// Milliseconds between two looks of a group.
static PERIOD_MS: AtomicU64 = AtomicU64::new(u64::MAX);

/// From now on, for all nodes in this program, by the shortest time between heartbeats of any. Not in a simulation, whose
/// clock is another one in each run.
pub(crate) fn in_step(heartbeat_ms: u64) {
    PERIOD_MS.fetch_min((heartbeat_ms / u64::from(LOOKS)).max(1), Ordering::Relaxed);
    FIRST.get_or_init(Instant::now);
}

/// See the head of this module.
#[derive(Debug)]
pub(crate) struct Runtime(Tokio);

/// The moment for what is due, `place` of them behind the first in each period.
fn moment(period: Duration, place: u32, first: Instant, due: Instant) -> Option<Instant> {
    let first = first + period / MOMENTS * (place % MOMENTS);
    let periods = due.saturating_duration_since(first).as_nanos().div_ceil(period.as_nanos().max(1));
    Some(first + period.checked_mul(u32::try_from(periods).ok()?)?)
}

/// A task stays at its place.
fn place() -> u32 {
    let mut hasher = DefaultHasher::new();
    tokio::task::try_id().hash(&mut hasher);
    u32::try_from(hasher.finish() % u64::from(MOMENTS)).unwrap_or(0)
}

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Tokio as AsyncRuntime>::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Tokio as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <Tokio as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <Tokio as AsyncRuntime>::Mpsc;
    type Watch = <Tokio as AsyncRuntime>::Watch;
    type Oneshot = <Tokio as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Tokio as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Tokio::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Tokio::sleep(duration)
    }

    /// openraft's clock of a group is the one that waits for a time ahead.
    fn sleep_until(deadline: TokioInstant) -> Self::Sleep {
        let (here, now) = (TokioInstant::now(), Instant::now());
        let ahead = if deadline > here { deadline - here } else { Duration::ZERO };
        if ahead <= THERE
            && let Some(past) = now.checked_sub(PAST)
        {
            return tokio::time::sleep_until(past);
        }
        let put_off = FIRST.get().filter(|_| ahead > NEAR).and_then(|first| {
            let period = Duration::from_millis(PERIOD_MS.load(Ordering::Relaxed));
            moment(period, place(), *first, now + ahead)
        });
        match put_off {
            Some(at) => tokio::time::sleep_until(at),
            None => Tokio::sleep_until(deadline),
        }
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: TokioInstant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Tokio::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Tokio::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        Tokio::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Runtime(Tokio::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_at_the_next_moment_of_its_place() {
        let (first, period) = (Instant::now(), Duration::from_millis(250));
        let at = |ms| first + Duration::from_millis(ms);
        for (place, due, looks) in
            [(0, 1, 250), (0, 250, 250), (0, 251, 500), (3, 1, 75), (3, 76, 325), (13, 80, 325)]
        {
            assert_eq!(moment(period, place, first, at(due)), Some(at(looks)), "{due} ms at {place}");
        }
        let years = 40 * 365 * 24 * 3600 * 1000;
        assert_eq!(moment(period, 0, first, at(years)), None);
    }

    #[tokio::test]
    async fn what_is_a_microsecond_away_is_there() {
        let due = TokioInstant::now() + Duration::from_micros(1);
        assert!(futures_util::FutureExt::now_or_never(Runtime::sleep_until(due)).is_some());
    }

    /// openraft's own clock goes ten times as often.
    #[tokio::test]
    async fn one_who_waits_again_and_again_looks_once_in_a_period() {
        in_step(100);
        let period = Duration::from_millis(PERIOD_MS.load(Ordering::Relaxed));
        let begun = Instant::now();
        for _ in 0..5 {
            Runtime::sleep_until(TokioInstant::now() + Duration::from_millis(5)).await;
        }
        assert!(begun.elapsed() >= period * 4);
        let near = Instant::now();
        for _ in 0..5 {
            Runtime::sleep_until(TokioInstant::now() + Duration::from_millis(1)).await;
        }
        assert!(near.elapsed() < period * 4);
    }
}
