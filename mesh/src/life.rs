//! Whether the other side of a connection is alive.
//!
//! A sign of life is what the other side did: bytes came from it, or it took some after it had let us wait. That the
//! system took bytes of ours is none.

use crate::frame::Kind;
use crate::outgoing::Outgoing;
use crate::settings::LaneSettings;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// What both loops know of the life of the other side.
pub(crate) struct Life {
    began: Instant,
    /// Nanoseconds after `began`.
    last_sign: AtomicU64,
    ping: AtomicU64,
    ping_left: AtomicU64,
}

impl Life {
    pub(crate) fn new() -> Life {
        let zero = AtomicU64::default;
        Life { began: Instant::now(), last_sign: zero(), ping: zero(), ping_left: zero() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn sign(&self) {
        self.last_sign.store(self.now(), Ordering::Relaxed);
    }

    fn silent_for(&self) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(self.last_sign.load(Ordering::Relaxed)))
    }

    fn ping(&self) -> Outgoing {
        let number = self.ping.fetch_add(1, Ordering::Relaxed) + 1;
        self.ping_left.store(self.now(), Ordering::Relaxed);
        Outgoing::bare(Kind::Ping, number)
    }

    /// How long the ping of this number took, if it is the last.
    pub(crate) fn pong(&self, number: u64) -> Option<u64> {
        let is_last = self.ping.load(Ordering::Relaxed) == number;
        is_last.then(|| self.now().saturating_sub(self.ping_left.load(Ordering::Relaxed)).max(1))
    }

    /// Asks for signs of life, and returns in words when there were none for too long. The side that dialled asks
    /// at all times, the other only while it hears nothing.
    pub(crate) async fn watch(
        &self,
        out: &mpsc::Sender<Outgoing>,
        lane: &LaneSettings,
        dialled: bool,
    ) -> String {
        let every = Duration::from_millis(lane.keepalive_ms.max(1));
        let silent_max = Duration::from_millis(lane.silent_max_ms);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        loop {
            ticks.tick().await;
            // If this process itself stood still, signs may lie there that nobody has read yet.
            let stood_still = last_tick.elapsed() > every * 2;
            last_tick = Instant::now();
            let silent_for = self.silent_for();
            if silent_for > silent_max && !stood_still {
                return format!("no sign of life for {} ms", silent_for.as_millis());
            }
            if dialled || silent_for >= every {
                // If the queue is full, the other side has enough to say.
                _ = out.try_send(self.ping());
            }
        }
    }
}
