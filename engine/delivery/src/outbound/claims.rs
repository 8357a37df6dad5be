//! Who may work on an item of a shard that another node could come to lead (docs/decisions/015-queue-claims.md).
//!
//! - A claim is a row beside the item, put there through the log, for many items at once. Its holder works on the item
//!   for [`ClaimSettings::lease`] by its own monotonic clock, counted from before it asked; it renews what takes longer.
//! - A claim of another node is taken over when it was not renewed for longer than that, by the monotonic clock of who
//!   takes it, from when it was first seen there. So no two clocks are ever compared, and none may jump to harm.
//! - Where a group has one voter there are no claims, and nothing of this costs anything.
//!
//! Must not: begin work, or know what it is.

use crate::Shards;
use crate::queue::{ClaimRow, Command, ItemId, ItemKey, read};
use estafette_raft::NodeId;
use estafette_storage::Store;
use estafette_types::ShardId;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Items that are claimed before there is room to work on them, so that they share an entry of the log.
pub(super) const AHEAD: usize = 64;

/// How long a node that stops tries to give back what it has claimed.
const RELEASE_MAX: Duration = Duration::from_secs(2);

/// How items are claimed.
#[derive(Clone, Copy, Debug)]
pub struct ClaimSettings {
    /// This node.
    pub node: NodeId,
    /// How long a claim is good for.
    pub lease: Duration,
    /// Claim also where nobody else could: for tests.
    pub always: bool,
}

impl Default for ClaimSettings {
    fn default() -> ClaimSettings {
        ClaimSettings { node: NodeId(1), lease: Duration::from_secs(60), always: false }
    }
}

impl ClaimSettings {
    /// For so long a claim of another node must not have been renewed: clocks do not all run at one speed.
    fn taken_over_after(&self) -> Duration {
        self.lease + self.lease / 6
    }
}

/// A right to work on an item. Without a claim, it is for as long as that takes.
#[derive(Debug, Default)]
pub(super) struct Hold(Mutex<Option<Claim>>);

#[derive(Clone, Copy, Debug)]
struct Claim {
    token: u64,
    until: Instant,
}

impl Hold {
    /// False when another node may have the item now.
    pub(super) fn is_good(&self) -> bool {
        self.0.lock().is_none_or(|claim| Instant::now() < claim.until)
    }

    /// The claim's name.
    pub(super) fn token(&self) -> Option<u64> {
        self.0.lock().map(|claim| claim.token)
    }

    fn left(&self) -> Option<Duration> {
        self.0.lock().map(|claim| claim.until.saturating_duration_since(Instant::now()))
    }

    fn set(&self, token: u64, until: Instant) {
        *self.0.lock() = Some(Claim { token, until });
    }
}

/// What may be done with an item that is due.
#[derive(Debug)]
pub(super) enum Turn {
    /// Work on it.
    Work(Arc<Hold>),
    /// Claim it first; over this claim.
    Claim(Option<u64>),
    /// It is another node's until then at least.
    Leave(Instant),
}

/// Items that were granted.
type Granted = Vec<(ItemKey, Arc<Hold>)>;
/// An item to be claimed: over which claim, or whose.
type Wanted = (ItemKey, Option<u64>, Arc<Hold>);

/// See the head of this module.
pub(super) struct Claims {
    settings: ClaimSettings,
    store: Store,
    shards: Shards,
    /// Items that wait for their work.
    held: HashMap<ItemKey, Arc<Hold>>,
    /// Claims of others: by their index, and since when they stand so.
    seen: HashMap<ItemKey, (u64, Instant)>,
    asking: Option<JoinHandle<Granted>>,
}

impl Claims {
    pub(super) fn new(settings: ClaimSettings, store: Store, shards: Shards) -> Claims {
        Claims { settings, store, shards, held: HashMap::new(), seen: HashMap::new(), asking: None }
    }

    /// True when items of the shard have to be claimed.
    pub(super) fn are_needed(&self, shard: ShardId) -> bool {
        self.settings.always || self.shards.reach(shard).is_ok_and(|reach| reach.is_shared())
    }

    /// Claims of others that are waited out.
    pub(super) fn seen(&self) -> usize {
        self.seen.len()
    }

    /// What may be done with an item of this claim that is not being worked on.
    pub(super) fn turn(&mut self, key: ItemKey, row: Option<ClaimRow>, now: Instant) -> Turn {
        if !self.are_needed(key.shard) {
            return Turn::Work(Arc::default());
        }
        let token = row.map(|row| row.token);
        if let Some(hold) = self.held.get(&key)
            && hold.token() == token
            && hold.left().is_some_and(|left| left > self.settings.lease / 2)
        {
            return Turn::Work(Arc::clone(hold));
        }
        let Some(row) = row else { return Turn::Claim(None) };
        // Of a former run, or run down: nobody else works for this node.
        if row.node == self.settings.node.0 {
            return Turn::Claim(Some(row.index));
        }
        let seen = self.seen.entry(key).or_insert((row.index, now));
        if seen.0 != row.index {
            *seen = (row.index, now);
        }
        let over = seen.1 + self.settings.taken_over_after();
        if now < over { Turn::Leave(over) } else { Turn::Claim(Some(row.index)) }
    }

    /// Forgets what is not due any more; `due` are all that are.
    pub(super) fn keep(&mut self, due: &[ItemKey]) {
        if self.held.is_empty() && self.seen.is_empty() {
            return;
        }
        let due: std::collections::HashSet<&ItemKey> = due.iter().collect();
        self.seen.retain(|key, _| due.contains(key));
        self.held.retain(|key, hold| due.contains(key) && hold.is_good());
    }

    /// The work on an item begins.
    pub(super) fn begun(&mut self, key: ItemKey) {
        self.held.remove(&key);
    }

    /// True while an answer is awaited: nothing else is asked meanwhile.
    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_some()
    }

    /// Asks for items; [`Claims::answered`] resolves when that is decided.
    pub(super) fn ask(&mut self, items: Vec<(ItemKey, Option<u64>)>) {
        let wanted = items.into_iter().map(|(key, over)| (key, over, Arc::default())).collect();
        self.send(wanted);
    }

    /// Renews the claims of what is being worked on, and claims what was begun while nobody else could lead its shard.
    pub(super) fn renew<'a>(&mut self, busy: impl Iterator<Item = &'a (ItemKey, Arc<Hold>)>) {
        if self.is_asking() {
            return;
        }
        let old = |(_, hold): &&(ItemKey, Arc<Hold>)| {
            hold.is_good() && hold.left().is_none_or(|left| left < self.settings.lease * 2 / 3)
        };
        let wanted = busy.filter(|(key, _)| self.are_needed(key.shard)).filter(old);
        let wanted: Vec<Wanted> = wanted.map(|(key, hold)| (*key, None, Arc::clone(hold))).collect();
        self.send(wanted);
    }

    fn send(&mut self, wanted: Vec<Wanted>) {
        if wanted.is_empty() || self.is_asking() {
            return;
        }
        let mut random = [0; 8];
        if let Err(error) = getrandom::fill(&mut random) {
            tracing::warn!(%error, "items cannot be claimed now");
            return;
        }
        let mut groups: BTreeMap<(ShardId, u64), Vec<Wanted>> = BTreeMap::new();
        for one in wanted {
            let token = one.2.token().unwrap_or(u64::from_be_bytes(random));
            groups.entry((one.0.shard, token)).or_default().push(one);
        }
        let (settings, store, shards) = (self.settings, self.store.clone(), self.shards.clone());
        self.asking = Some(tokio::spawn(async move {
            let claims = groups
                .into_iter()
                .map(|((shard, token), wanted)| claim(&settings, &store, &shards, shard, token, wanted));
            join_all(claims).await.into_iter().flatten().collect()
        }));
    }

    /// Gives back what was claimed and not begun, so that another node need not wait until the lease is over. No more is
    /// asked after this.
    pub(super) async fn release(mut self) {
        if self.is_asking() && timeout(RELEASE_MAX, self.answered()).await.is_err() {
            return;
        }
        let mut items: BTreeMap<ShardId, Vec<(ItemId, u64)>> = BTreeMap::new();
        for (key, hold) in &self.held {
            items.entry(key.shard).or_default().extend(hold.token().map(|token| (key.id, token)));
        }
        let shards = &self.shards;
        let released = join_all(items.into_iter().map(async |(shard, items)| {
            let command = Command::Release { items }.encode();
            shards.queue(shard, &command, Vec::new(), shards.wait().for_no_leader()).await.is_ok()
        }));
        if !timeout(RELEASE_MAX, released).await.is_ok_and(|all| all.into_iter().all(|done| done)) {
            tracing::warn!("items that wait to be sent stay claimed: another node takes them over later");
        }
    }

    /// Resolves when what was asked for is decided; never when nothing was.
    pub(super) async fn answered(&mut self) {
        let Some(asking) = &mut self.asking else { return std::future::pending().await };
        // Empty when the runtime is ending.
        self.held.extend(asking.await.unwrap_or_default());
        self.asking = None;
    }
}

/// Claims items of a shard under one name; gives those that were granted.
async fn claim(
    settings: &ClaimSettings,
    store: &Store,
    shards: &Shards,
    shard: ShardId,
    token: u64,
    wanted: Vec<Wanted>,
) -> Granted {
    let items: Vec<(ItemId, Option<u64>)> = wanted.iter().map(|(key, over, _)| (key.id, *over)).collect();
    let command = Command::Claim { node: settings.node.0, token, items }.encode();
    // Before it can have been granted, so that it ends here first.
    let until = Instant::now() + settings.lease;
    let proposed = shards.queue(shard, &command, Vec::new(), shards.wait().for_no_leader());
    match timeout(settings.lease / 4, proposed).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%shard, %error, "items of the queue cannot be claimed now");
            return Vec::new();
        }
        Err(_) => return Vec::new(),
    }
    metrics::counter!("estafette_queue_claims_total").increment(wanted.len() as u64);
    let store = store.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut granted = Vec::new();
        for (key, _, hold) in wanted {
            let row = read::claim(&store, shard, key.id)?;
            if row.is_some_and(|row| row.token == token) {
                hold.set(token, until);
                granted.push((key, hold));
            } else if hold.token().is_some() {
                // Another node has it.
                hold.set(token, Instant::now());
            }
        }
        Ok::<_, crate::Error>(granted)
    });
    match read.await {
        Ok(Ok(granted)) => granted,
        Ok(Err(error)) => {
            tracing::error!(%shard, %error, "claims cannot be read");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
