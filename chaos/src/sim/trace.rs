//! What happened in a run, in order: its hash tells whether two runs were the same, and its words what led to a breach.

use parking_lot::Mutex;
use std::fmt::Arguments;
use std::io::Write;
use std::sync::Arc;
use tokio::time::Instant;

/// The history of a run. Cheap to clone.
#[derive(Clone)]
pub(super) struct Trace(Arc<Mutex<State>>);

struct State {
    began: Instant,
    hasher: blake3::Hasher,
    /// Whether each line is printed too.
    loud: bool,
}

impl Trace {
    pub(super) fn new(loud: bool) -> Trace {
        Trace(Arc::new(Mutex::new(State { began: Instant::now(), hasher: blake3::Hasher::new(), loud })))
    }

    /// Milliseconds of the run so far, in its own time.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.0.lock().began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn say(&self, what: Arguments<'_>) {
        let mut state = self.0.lock();
        let line = format!("{:>9.3} {what}\n", state.began.elapsed().as_secs_f64());
        state.hasher.update(line.as_bytes());
        if state.loud {
            // Who reads it may have gone.
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    }

    /// Equal for equal runs.
    pub(super) fn hash(&self) -> String {
        let hash = self.0.lock().hasher.finalize().to_hex();
        hash.as_str().get(..16).unwrap_or_default().to_owned()
    }
}
