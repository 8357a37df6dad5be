//! A steady trickle of deliveries by several clients, who go on with another session when one fails.
//!
//! Each client is due at its own moments, whatever became of its last message; it never has two under way.

use crate::error::BenchError;
use crate::load::Courier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

/// A client waits so long for an acknowledgement, and then tries another node: longer than a node looks for a leader.
const PATIENCE: Duration = Duration::from_secs(12);
/// After a session that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(20);

/// What a trickle is.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Where nodes take mail, host:port.
    pub(super) doors: Vec<String>,
    /// Taken in turn.
    pub(super) recipients: Vec<String>,
    /// Between two deliveries of all clients together.
    pub(super) every: Duration,
    pub(super) clients: u32,
    /// Of each message.
    pub(super) bytes: usize,
}

/// A delivery that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivered {
    pub(super) at: Instant,
    pub(super) took: Duration,
}

/// What is seen so far.
#[derive(Debug, Default)]
struct Seen {
    delivered: Vec<Delivered>,
    failed: usize,
}

impl Seen {
    /// An attempt that took so long, or failed.
    fn note(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => self.delivered.push(Delivered { at: Instant::now(), took }),
            None => self.failed += 1,
        }
    }
}

/// A trickle under way.
pub(super) struct Trickle {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    clients: JoinSet<()>,
}

impl Trickle {
    /// Begins one.
    pub(super) fn start(flow: Flow) -> Trickle {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Seen>>::default());
        let mut clients = JoinSet::new();
        for number in 0..flow.clients {
            clients.spawn(client(flow.clone(), number, Arc::clone(&stop), Arc::clone(&seen)));
        }
        Trickle { stop, seen, clients }
    }

    /// True if something was acknowledged after this moment.
    pub(super) fn goes_on_after(&self, moment: Instant) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.delivered.iter().any(|delivered| delivered.at > moment)
    }

    /// Ends it: all that was acknowledged, in order, and how many attempts failed.
    pub(super) async fn stop(mut self) -> Result<(Vec<Delivered>, usize), BenchError> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut delivered = std::mem::take(&mut seen.delivered);
        delivered.sort_unstable_by_key(|delivered| delivered.at);
        Ok((delivered, seen.failed))
    }
}

/// One client, until it is stopped.
async fn client(flow: Flow, number: u32, stop: Arc<AtomicBool>, seen: Arc<Mutex<Seen>>) {
    let first = tokio::time::Instant::now() + flow.every * number;
    let mut due = interval_at(first, (flow.every * flow.clients).max(Duration::from_millis(1)));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut courier = None;
    let mut turn = number as usize;
    let mut door = number as usize;
    while !stop.load(Ordering::Relaxed) {
        due.tick().await;
        let recipient = nth(&flow.recipients, turn);
        let result = timeout(PATIENCE, deliver(&mut courier, nth(&flow.doors, door), recipient, &flow)).await;
        let took = result.ok().and_then(Result::ok);
        seen.lock().unwrap_or_else(PoisonError::into_inner).note(took);
        if took.is_some() {
            turn += flow.clients as usize;
        } else {
            courier = None;
            door += 1;
            due.reset_immediately();
            sleep(FAILED_PAUSE).await;
        }
    }
}

/// One of a list that begins anew at its end.
fn nth(list: &[String], at: usize) -> &str {
    list.get(at % list.len().max(1)).map(String::as_str).unwrap_or_default()
}

async fn deliver(
    courier: &mut Option<Courier>,
    door: &str,
    recipient: &str,
    flow: &Flow,
) -> Result<Duration, BenchError> {
    let began = Instant::now();
    let mut open = match courier.take() {
        Some(open) => open,
        None => Courier::open(door, 0).await?,
    };
    open.deliver(recipient, flow.bytes).await?;
    *courier = Some(open);
    Ok(began.elapsed())
}

/// The longest time without an acknowledgement that ends after this moment, or does not end until the trickle does.
pub(super) fn longest_gap(delivered: &[Delivered], after: Instant, end: Instant) -> Duration {
    let moments = || delivered.iter().map(|delivered| delivered.at);
    let ends = moments().skip(1).chain([end]);
    let gaps = moments().zip(ends).filter(|(_, end)| *end > after);
    gaps.map(|(begin, end)| end.saturating_duration_since(begin)).max().unwrap_or(end - after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_when_it_ends_after_the_moment() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let seen: Vec<_> = [0, 900, 1000, 1300, 1310]
            .map(|ms| Delivered { at: at(ms), took: Duration::ZERO })
            .into_iter()
            .collect();
        assert_eq!(longest_gap(&seen, at(1000), at(1320)), Duration::from_millis(300));
        assert_eq!(longest_gap(&seen, at(500), at(1320)), Duration::from_millis(900));
        assert_eq!(longest_gap(&seen, at(1000), at(9310)), Duration::from_millis(8000), "nothing came again");
        assert_eq!(longest_gap(&[], at(0), at(70)), Duration::from_millis(70));
    }
}
