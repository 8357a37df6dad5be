//! Runs the sessions of a load side by side, for so many operations or so long.

use super::LoadResult;
use super::connection::READS;
use crate::error::BenchError;
use crate::process::Meter;
use clap::Args;
use indicatif::ProgressBar;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The longest that a server may say nothing at all.
const SILENCE_SECONDS_MAX: u64 = 60;
/// How often it is looked whether anything arrives.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that are opened at the same time.
const OPENED_AT_ONCE: usize = 8;

/// How long a load lasts: until one of both is reached.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Operations in all.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) operations: usize,
    /// Seconds after which no operation is begun any more.
    #[arg(long, default_value_t = 3_600.0)]
    pub(crate) seconds: f64,
    /// A bar shows how far it is.
    #[arg(skip = true)]
    pub(crate) shown: bool,
}

impl Span {
    /// So many operations, however long they take.
    pub(crate) fn operations(operations: usize) -> Span {
        Span { operations, seconds: f64::from(u32::MAX), shown: false }
    }

    /// As many operations as there can be in this time.
    pub(crate) fn seconds(seconds: f64) -> Span {
        Span { operations: usize::MAX, seconds, shown: false }
    }

    /// Begins now.
    pub(super) fn turns(self) -> Turns {
        let long = Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(3_600));
        Turns { next: Arc::default(), count: self.operations, end: Instant::now() + long }
    }
}

/// The operations that are left, shared by the sessions of a load so that all end together.
#[derive(Clone)]
pub(super) struct Turns {
    next: Arc<AtomicUsize>,
    count: usize,
    end: Instant,
}

impl Turns {
    /// Operations that were begun.
    fn begun(&self) -> usize {
        self.next.load(Ordering::Relaxed).min(self.count)
    }

    /// The number of the next operation and when it begins; `None` when no more is to be begun.
    pub(super) fn next(&self) -> Option<(usize, Instant)> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        (turn < self.count && now < self.end).then_some((turn, now))
    }
}

/// The times that the operations of one session took.
pub(super) type Latencies = Vec<Duration>;

/// Opens so many sessions, a few at a time, in order.
pub(super) async fn open<T, F>(sessions: usize, open: impl Fn(usize) -> F) -> Result<Vec<T>, BenchError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BenchError>> + Send + 'static,
{
    let mut opened: Vec<(usize, T)> = Vec::with_capacity(sessions);
    let mut tasks = JoinSet::new();
    for worker in 0..sessions {
        let session = open(worker);
        tasks.spawn(async move { session.await.map(|session| (worker, session)) });
        if tasks.len() >= OPENED_AT_ONCE {
            opened.extend(next(&mut tasks, || ()).await?);
        }
    }
    while let Some(session) = next(&mut tasks, || ()).await? {
        opened.push(session);
    }
    opened.sort_unstable_by_key(|(worker, _)| *worker);
    Ok(opened.into_iter().map(|(_, session)| session).collect())
}

/// Runs the sessions until all have ended, and reads what the server used meanwhile.
pub(super) async fn run<T, F>(
    meter: &Meter,
    span: Span,
    sessions: Vec<T>,
    session: impl Fn(usize, T, Turns) -> F,
) -> Result<LoadResult, BenchError>
where
    F: Future<Output = Result<Latencies, BenchError>> + Send + 'static,
{
    let before = meter.read_at_rest().await?;
    let turns = span.turns();
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (worker, opened) in sessions.into_iter().enumerate() {
        tasks.spawn(session(worker, opened, turns.clone()));
    }
    let mut latencies = Vec::new();
    let bar = if span.shown { ProgressBar::new(span.operations as u64) } else { ProgressBar::hidden() };
    while let Some(of_session) = next(&mut tasks, || bar.set_position(turns.begun() as u64)).await? {
        latencies.extend(of_session);
    }
    let took = began.elapsed();
    bar.finish_and_clear();
    Ok(LoadResult::of(latencies, took, meter.read_at_rest().await?.since(before)))
}

/// What the next task that ends gives. An error when nothing arrives from the server for too long.
async fn next<T: 'static>(
    tasks: &mut JoinSet<Result<T, BenchError>>,
    meanwhile: impl Fn(),
) -> Result<Option<T>, BenchError> {
    let (mut seen, mut silence) = (READS.load(Ordering::Relaxed), 0);
    loop {
        match tokio::time::timeout(LOOK, tasks.join_next()).await {
            Ok(None) => return Ok(None),
            Ok(Some(ended)) => return ended?.map(Some),
            Err(_) => {
                meanwhile();
                let now = READS.load(Ordering::Relaxed);
                silence = if now == seen { silence + LOOK.as_secs() } else { 0 };
                if silence >= SILENCE_SECONDS_MAX {
                    return Err(BenchError::Slow(SILENCE_SECONDS_MAX));
                }
                seen = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_with_the_count_or_with_the_time() {
        let turns = Span::operations(2).turns();
        let other = turns.clone();
        assert_eq!(turns.next().map(|turn| turn.0), Some(0));
        assert_eq!(other.next().map(|turn| turn.0), Some(1));
        assert!(turns.next().is_none());
        assert!(Span::seconds(0.0).turns().next().is_none());
    }
}
