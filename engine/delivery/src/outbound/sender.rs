//! Hands items that are due to tasks, and keeps connections between them.

use super::claims::{AHEAD, Claims, Hold, Turn};
use super::connection::Connection;
use super::job::{Desk, Done};
use super::overdue::Overdue;
use super::settings::Settings;
use crate::clock::now_ms;
use crate::queue::{ClaimRow, ItemKey, Wakeup, read};
use crate::{Acceptor, Error};
use estafette_storage::Store;
use estafette_types::ShardId;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

/// Tasks at once when no relay says how many.
const TASKS: usize = 20;
/// How long a connection is kept for another message.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Pause after the relay could not be reached.
const RELAY_PAUSE: Duration = Duration::from_secs(5);
/// Pause before an item is looked at again that could not be worked on; doubled each time.
const HELD: Duration = Duration::from_secs(15);
/// The longest such pause.
const HELD_LONGEST: Duration = Duration::from_secs(15 * 60);
/// Items that are held at once; further ones are looked at again at once.
const HELD_MAX: usize = 10_000;
/// Longest pause between two looks at the queue.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// The same where another node could come to lead, or this one, without a word.
const LEAD_LOOK_MAX: Duration = Duration::from_secs(1);
/// How long messages that are being sent may take when the node stops.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Sends what lies in the queues of the shards that this node leads. See the head of [`super`].
pub struct Sender {
    desk: Arc<Desk>,
    wakeup: Arc<Wakeup>,
    tasks: JoinSet<Done>,
    busy: HashMap<Id, (ItemKey, Arc<Hold>)>,
    claims: Claims,
    /// The shards that it led when it looked last.
    led: BTreeSet<ShardId>,
    overdue: Overdue,
    held: HashMap<ItemKey, Held>,
    idle: Vec<(Instant, Connection)>,
    /// Until when nothing is tried because the relay could not be reached.
    relay_down: Option<Instant>,
}

/// An item that is due, and who has claimed it.
type Found = (ItemKey, Option<ClaimRow>);

/// An item that could not be worked on.
#[derive(Clone, Copy, Debug)]
struct Held {
    until: Instant,
    pause: Duration,
}

impl Sender {
    /// For a node. `wakeup` is that of its shards' machines.
    ///
    /// # Errors
    /// The relay's settings cannot be used: [`Error::Authorities`], [`Error::RelayHost`], [`Error::Tls`].
    pub fn new(
        store: Store,
        acceptor: Acceptor,
        wakeup: Arc<Wakeup>,
        settings: Settings,
    ) -> Result<Sender, Error> {
        let overdue = Overdue::new(LOOK_MAX.min(settings.schedule.retry_first));
        let claims = Claims::new(settings.claims, store.clone(), acceptor.shards().clone());
        Ok(Sender {
            desk: Arc::new(Desk::new(store, acceptor, settings)?),
            claims,
            led: BTreeSet::new(),
            overdue,
            wakeup,
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            held: HashMap::new(),
            idle: Vec::new(),
            relay_down: None,
        })
    }

    /// Works until `stopping` says true or is dropped; then ends what is under way, within a few seconds, and gives
    /// back what it did not begin.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            self.claims.renew(self.busy.values());
            self.look_who_leads();
            let overdue = self.overdue.look(&self.desk, &self.led);
            let look = self.begin().await.min(self.look_again()).min(overdue);
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                () = self.claims.answered() => {}
                () = self.wakeup.woken() => {}
                () = sleep_until(look) => {}
            }
            self.close_idle(IDLE_MAX);
        }
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(STOP_MAX, finish).await.is_err() {
            tracing::warn!("messages that were being sent are broken off; they are sent again");
        }
        self.close_idle(Duration::ZERO);
        self.claims.release().await;
    }

    fn tasks_max(&self) -> usize {
        self.desk.settings.relay.as_ref().map_or(TASKS, |relay| relay.connections_max.max(1))
    }

    /// Begins work on what is due, as far as there is room; tells when to look again.
    async fn begin(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(until) = self.relay_down.filter(|until| *until > now) {
            return until;
        }
        self.relay_down = None;
        let free = self.tasks_max().saturating_sub(self.tasks.len());
        if free == 0 {
            return now + LOOK_MAX;
        }
        let ahead = if self.needs_claims() { AHEAD } else { 0 };
        let waiting = self.held.len() + self.claims.seen();
        let (due, next_ms) = match self.due(free + self.tasks.len() + waiting + ahead).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                return now + HELD;
            }
        };
        let foreign = self.start(due, free, ahead, now);
        let next = next_ms.map(|next| now + Duration::from_millis(next.saturating_sub(now_ms())));
        let idle = self.idle.first().map(|(since, _)| *since + IDLE_MAX);
        let held = self.held.values().map(|held| held.until).filter(|until| *until > now).min();
        [next, idle, held, foreign].into_iter().flatten().fold(now + LOOK_MAX, Instant::min)
    }

    /// Begins work on as many items as there is room for, and claims others; tells when a claim of another node can
    /// be taken over.
    fn start(&mut self, due: Vec<Found>, free: usize, ahead: usize, now: Instant) -> Option<Instant> {
        self.claims.keep(&due.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let busy: std::collections::HashSet<ItemKey> = self.busy.values().map(|(key, _)| *key).collect();
        let (mut room, mut wanted, mut foreign) = (free, Vec::new(), None::<Instant>);
        for (key, claim) in due {
            let held = self.held.get(&key).is_some_and(|held| held.until > now);
            if held || busy.contains(&key) {
                continue;
            }
            match self.claims.turn(key, claim, now) {
                Turn::Work(hold) if room > 0 => {
                    room -= 1;
                    self.claims.begun(key);
                    let connection = self.idle.pop().map(|(_, connection)| connection);
                    let desk = Arc::clone(&self.desk);
                    let task = self.tasks.spawn(desk.work(key, Arc::clone(&hold), connection));
                    self.busy.insert(task.id(), (key, hold));
                }
                Turn::Work(_) => {}
                Turn::Claim(over) => wanted.push((key, over)),
                Turn::Leave(until) => foreign = foreign.into_iter().chain([until]).min(),
            }
        }
        // What is claimed ahead is claimed again when half of it is begun, not one by one.
        if room > 0 || wanted.len() > ahead / 2 {
            wanted.truncate(room + ahead);
            self.claims.ask(wanted);
        }
        foreign
    }

    fn needs_claims(&self) -> bool {
        self.led.iter().any(|shard| self.claims.are_needed(*shard))
    }

    /// When to look who leads, at the latest.
    fn look_again(&self) -> Instant {
        let shards = self.desk.acceptor.shards().all();
        let alone = !shards.into_iter().any(|shard| self.claims.are_needed(shard));
        Instant::now() + if alone { LOOK_MAX } else { LEAD_LOOK_MAX }
    }

    /// What is due in the shards that this node leads, the most urgent first, with its claims, and the next moment
    /// after it.
    async fn due(&self, limit: usize) -> Result<(Vec<Found>, Option<u64>), Error> {
        let store = self.desk.store.clone();
        let shards: Vec<(ShardId, bool)> =
            self.led.iter().map(|shard| (*shard, self.claims.are_needed(*shard))).collect();
        let read = tokio::task::spawn_blocking(move || {
            let (mut due, mut next) = (Vec::new(), None::<u64>);
            let mut waiting = 0;
            for (shard, claimed) in shards {
                waiting += read::counters(&store, shard)?.items;
                let found = read::due(&store, shard, now_ms(), limit)?;
                for (time_ms, id) in found.items {
                    let claim = if claimed { read::claim(&store, shard, id)? } else { None };
                    due.push((time_ms, ItemKey { shard, id }, claim));
                }
                next = next.into_iter().chain(found.next_ms).min();
            }
            metrics::gauge!("estafette_queue_items").set(waiting as f64);
            due.sort_unstable_by_key(|(time_ms, key, _)| (*time_ms, *key));
            Ok((due.into_iter().map(|(_, key, claim)| (key, claim)).collect(), next))
        });
        // The runtime is ending.
        read.await.unwrap_or(Ok((Vec::new(), None)))
    }

    fn look_who_leads(&mut self) {
        let shards = self.desk.acceptor.shards();
        let leads = |shard: &ShardId| shards.group(*shard).is_ok_and(|group| group.status().leads);
        let led: BTreeSet<ShardId> = shards.all().into_iter().filter(leads).collect();
        if led.difference(&self.led).next().is_some() {
            self.overdue.soon();
        }
        self.led = led;
    }

    fn ended(&mut self, ended: Result<(Id, Done), JoinError>) {
        let now = Instant::now();
        let (id, done) = match ended {
            Ok((id, done)) => (id, Some(done)),
            Err(error) => (error.id(), None),
        };
        let Some((key, _)) = self.busy.remove(&id) else { return };
        let Some(done) = done else {
            tracing::error!(item = %key, "the work on an item broke off: a mistake in the program");
            self.hold(key, now);
            return;
        };
        match done.problem {
            Some(error) => {
                tracing::warn!(item = %key, %error, "an item cannot be worked on now");
                self.hold(key, now);
            }
            None => drop(self.held.remove(&key)),
        }
        if done.relay_down {
            self.relay_down = Some(now + self.pause(RELAY_PAUSE));
        }
        self.idle.extend(done.connection.map(|connection| (now, connection)));
    }

    /// A pause, but no longer than one after a failed attempt.
    fn pause(&self, pause: Duration) -> Duration {
        pause.min(self.desk.settings.schedule.retry_first)
    }

    fn hold(&mut self, key: ItemKey, now: Instant) {
        let before = self.held.get(&key).map(|held| held.pause.saturating_mul(2));
        let pause = before.unwrap_or(self.pause(HELD)).min(HELD_LONGEST);
        if before.is_some() || self.held.len() < HELD_MAX {
            self.held.insert(key, Held { until: now + pause, pause });
        }
    }

    /// Says goodbye on connections that have been idle for so long.
    fn close_idle(&mut self, time: Duration) {
        let now = Instant::now();
        let old = self.idle.partition_point(|(since, _)| now.duration_since(*since) >= time);
        for (_, connection) in self.idle.drain(..old) {
            tokio::spawn(connection.quit());
        }
    }
}
