//! Items that wait for longer than there is a reason to are tried at once.
//!
//! - They waited because there was no relay, and now there is one; or for a time of a clock that was ahead: of this node
//!   before it was set, of another one that led, or of the log, whose time never goes back.
//! - They are looked for every so often in the shards that the node leads, among those that are not due. What fails is found
//!   again. One look at a time, and they take a small part of the time.
//!
//! Must not: look at what is due (that is [`super::sender`]'s); block a thread of the runtime.

use super::job::Desk;
use super::settings::CLOCKS_DIFFER_MS;
use crate::queue::{Command, Item, ItemId, PAGE_MAX, read};
use crate::{Error, clock};
use estafette_types::ShardId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The pause after a look, in times of what it took.
const PAUSE_OF_LOOK: u32 = 20;

/// Looks for them.
#[derive(Debug)]
pub(super) struct Overdue {
    looking: JoinSet<Duration>,
    next: Instant,
    pause: Duration,
}

impl Overdue {
    /// The first look is at once, the others after this pause or more.
    pub(super) fn new(pause: Duration) -> Overdue {
        Overdue { looking: JoinSet::new(), next: Instant::now(), pause }
    }

    /// The next look is at once: there are shards that were not looked at.
    pub(super) fn soon(&mut self) {
        self.next = Instant::now();
    }

    /// Looks if it is time to; tells when it is again, at the latest.
    pub(super) fn look(&mut self, desk: &Arc<Desk>, led: &BTreeSet<ShardId>) -> Instant {
        while let Some(ended) = self.looking.try_join_next() {
            let took = ended.unwrap_or_default();
            self.next = self.next.max(Instant::now() + took.saturating_mul(PAUSE_OF_LOOK));
        }
        let now = Instant::now();
        if self.looking.is_empty() && self.next <= now {
            self.next = now + self.pause;
            self.looking.spawn(all(Arc::clone(desk), led.clone()));
        }
        if self.next > now { self.next } else { now + self.pause }
    }
}

/// One look at all shards; how long it took.
async fn all(desk: Arc<Desk>, shards: BTreeSet<ShardId>) -> Duration {
    let begin = Instant::now();
    for shard in shards {
        if let Err(error) = hurry(&desk, shard).await {
            tracing::warn!(%shard, %error, "what waits for too long is looked for again");
        }
    }
    begin.elapsed()
}

async fn hurry(desk: &Arc<Desk>, shard: ShardId) -> Result<(), Error> {
    let shards = desk.acceptor.shards();
    let mut after = None;
    loop {
        let on_disk = Arc::clone(desk);
        let page = tokio::task::spawn_blocking(move || page(&on_disk, shard, after)).await;
        // The runtime is ending.
        let Ok(page) = page else { return Ok(()) };
        let Page { overdue, last } = page?;
        for id in overdue {
            let command = Command::RetryNow { id }.encode();
            shards.queue(shard, &command, Vec::new(), shards.wait()).await?;
        }
        if last.is_none() {
            return Ok(());
        }
        after = last;
    }
}

/// Of the items that are not due, those that wait for too long, and how far was looked; no further if there are no more.
struct Page {
    overdue: Vec<ItemId>,
    last: Option<(u64, ItemId)>,
}

fn page(desk: &Desk, shard: ShardId, after: Option<(u64, ItemId)>) -> Result<Page, Error> {
    let now_ms = clock::now_ms();
    let from = after.unwrap_or((now_ms.saturating_add(CLOCKS_DIFFER_MS), ItemId([0; 16])));
    let later = read::due_after(&desk.store, shard, from, PAGE_MAX)?;
    let mut overdue = Vec::new();
    for (_, id) in &later {
        let item = read::item(&desk.store, shard, *id)?;
        overdue.extend(item.filter(|item| is_overdue(desk, item, now_ms)).map(|_| *id));
    }
    Ok(Page { overdue, last: later.last().copied() })
}

fn is_overdue(desk: &Desk, item: &Item, now_ms: u64) -> bool {
    let is_for_here = item.pending().any(|(_, recipient)| recipient.local.is_some());
    match (Desk::waits_for_relay(item), desk.settings.relay.is_some()) {
        (true, true) => true,
        // Until its sender is told, or it goes back.
        (true, false) if !is_for_here => false,
        _ => desk.settings.schedule.waits_too_long(item, now_ms),
    }
}
