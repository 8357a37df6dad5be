//! Tells the sender that the queue of a shard has changed.

use estafette_types::ShardId;
use tokio::sync::Notify;

/// Wakes the one who sends; several wakes may be told as one.
#[derive(Debug, Default)]
pub struct Wakeup(Notify);

impl Wakeup {
    /// The queue of this shard has changed.
    pub fn wake(&self, _shard: ShardId) {
        self.0.notify_one();
    }

    /// Resolves after the next wake, or at once when there was one since the last time.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}
