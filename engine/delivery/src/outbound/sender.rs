//! Hands items that are due to tasks, and keeps connections between them.

use super::connection::Connection;
use super::job::{Desk, Done};
use super::settings::Settings;
use crate::queue::{Command, ItemId, ItemKey, PAGE_MAX, Wakeup, read};
use crate::{Acceptor, Error};
use estafette_storage::Store;
use estafette_types::ShardId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
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
/// How long messages that are being sent may take when the node stops.
const STOP_MAX: Duration = Duration::from_secs(8);

/// Sends what lies in the queues of the shards that this node leads. See the head of [`super`].
pub struct Sender {
    desk: Arc<Desk>,
    wakeup: Arc<Wakeup>,
    tasks: JoinSet<Done>,
    busy: HashMap<Id, ItemKey>,
    held: HashMap<ItemKey, Held>,
    idle: Vec<(Instant, Connection)>,
    /// Until when nothing is tried because the relay could not be reached.
    relay_down: Option<Instant>,
}

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
        Ok(Sender {
            desk: Arc::new(Desk::new(store, acceptor, settings)?),
            wakeup,
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            held: HashMap::new(),
            idle: Vec::new(),
            relay_down: None,
        })
    }

    /// Works until `stopping` says true or is dropped; then ends what is under way, within a few seconds.
    pub async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        if let Err(error) = self.revive().await {
            tracing::warn!(%error, "what waited for a relay is tried at its own time");
        }
        loop {
            let look = self.begin().await;
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => break,
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
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
        let (due, next_ms) = match self.due(free + self.tasks.len() + self.held.len()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "the queue cannot be read");
                return now + HELD;
            }
        };
        let busy: std::collections::HashSet<ItemKey> = self.busy.values().copied().collect();
        let held = |key: &ItemKey| self.held.get(key).is_some_and(|held| held.until > now);
        let open = due.into_iter().filter(|key| !busy.contains(key) && !held(key));
        for key in open.take(free).collect::<Vec<_>>() {
            let connection = self.idle.pop().map(|(_, connection)| connection);
            let task = self.tasks.spawn(Arc::clone(&self.desk).work(key, connection));
            self.busy.insert(task.id(), key);
        }
        let next = next_ms.map(|next| now + Duration::from_millis(next.saturating_sub(now_ms())));
        let idle = self.idle.first().map(|(since, _)| *since + IDLE_MAX);
        let held = self.held.values().map(|held| held.until).filter(|until| *until > now).min();
        [next, idle, held].into_iter().flatten().fold(now + LOOK_MAX, Instant::min)
    }

    /// What is due in the shards that this node leads, the most urgent first, and the next moment after it.
    async fn due(&self, limit: usize) -> Result<(Vec<ItemKey>, Option<u64>), Error> {
        let store = self.desk.store.clone();
        let shards = self.led();
        let read = tokio::task::spawn_blocking(move || {
            let (mut due, mut next) = (Vec::new(), None::<u64>);
            let mut waiting = 0;
            for shard in shards {
                waiting += read::counters(&store, shard)?.items;
                let found = read::due(&store, shard, now_ms(), limit)?;
                due.extend(found.items.into_iter().map(|(time_ms, id)| (time_ms, ItemKey { shard, id })));
                next = next.into_iter().chain(found.next_ms).min();
            }
            metrics::gauge!("estafette_queue_items").set(waiting as f64);
            due.sort_unstable();
            Ok((due.into_iter().map(|(_, key)| key).collect(), next))
        });
        // The runtime is ending.
        read.await.unwrap_or(Ok((Vec::new(), None)))
    }

    fn led(&self) -> Vec<ShardId> {
        let shards = self.desk.acceptor.shards();
        let leads = |shard: &ShardId| shards.group(*shard).is_ok_and(|group| group.status().leads);
        shards.all().into_iter().filter(leads).collect()
    }

    fn ended(&mut self, ended: Result<(Id, Done), JoinError>) {
        let now = Instant::now();
        let (id, done) = match ended {
            Ok((id, done)) => (id, Some(done)),
            Err(error) => (error.id(), None),
        };
        let Some(key) = self.busy.remove(&id) else { return };
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

    /// With a relay, items that waited because there was none are due at once.
    async fn revive(&self) -> Result<(), Error> {
        if self.desk.settings.relay.is_none() {
            return Ok(());
        }
        for shard in self.led() {
            let mut after: Option<ItemId> = None;
            loop {
                let page = read::list(&self.desk.store, shard, after, PAGE_MAX)?;
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                for (id, _) in page.iter().filter(|(_, item)| Desk::waits_for_relay(item)) {
                    let command = Command::RetryNow { id: *id }.encode();
                    self.desk.acceptor.shards().queue(shard, &command, Vec::new()).await?;
                }
            }
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
