//! What this run of the program found out about stored bodies: which were seen to fit their hashes, and which do not.
//!
//! It lies in memory alone: after a start everything is found out again, by readers and by the scrub.
//! - *Proven* places: what lies there fitted the hash once, so a later read, which RocksDB's checksum covers where it
//!   comes from a file, is not hashed again (decision 014). A small table of marks; who comes later takes a slot over.
//! - *Damaged* bodies, with the reason, until they are repaired or gone. No more than [`DAMAGED_MAX`].
//! - Whether *rows* could not be read, and the first reason: there is nothing here to mend them with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::body::{BodyHash, Place};

/// Damaged bodies that are remembered; those that come later are found again when these are repaired.
const DAMAGED_MAX: usize = 10_000;
/// Slots for places: 512 KiB.
const PROVEN_SLOTS: usize = 64 * 1024;

pub(crate) struct Findings {
    /// The first eight bytes of a place, in the slot that its next bytes say; 0 for none.
    proven: Box<[AtomicU64]>,
    damaged: Mutex<BTreeMap<BodyHash, Arc<str>>>,
    rows: OnceLock<Arc<str>>,
}

impl Findings {
    pub(crate) fn new() -> Findings {
        let proven = (0..PROVEN_SLOTS).map(|_| AtomicU64::new(0)).collect();
        Findings { proven, damaged: Mutex::default(), rows: OnceLock::new() }
    }

    /// True if the bytes of a place were seen to fit the hash of their body.
    pub(crate) fn is_proven(&self, place: &Place) -> bool {
        let (slot, mark) = self.slot(place);
        slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == mark)
    }

    pub(crate) fn prove(&self, place: &Place) {
        let (slot, mark) = self.slot(place);
        if let Some(slot) = slot {
            slot.store(mark, Ordering::Relaxed);
        }
    }

    /// What lies at the place is removed or written anew.
    pub(crate) fn forget(&self, place: &Place) {
        let (slot, mark) = self.slot(place);
        if let Some(slot) = slot {
            let _ = slot.compare_exchange(mark, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn slot(&self, place: &Place) -> (Option<&AtomicU64>, u64) {
        let [mark, slot, ..] = *place.0.as_chunks::<8>().0 else { return (None, 0) };
        let slot = usize::from_le_bytes(slot) % PROVEN_SLOTS;
        (self.proven.get(slot), u64::from_le_bytes(mark) | 1)
    }

    /// A body does not fit its hash, or cannot be read.
    pub(crate) fn damaged(&self, hash: &BodyHash, place: Option<&Place>, reason: &str) {
        place.into_iter().for_each(|place| self.forget(place));
        let mut damaged = self.damaged.lock();
        if damaged.len() < DAMAGED_MAX && damaged.insert(*hash, reason.into()).is_none() {
            tracing::error!(body = %hash, reason, "a stored body is damaged");
            metrics::counter!("estafette_storage_bodies_damaged_total").increment(1);
        }
    }

    /// Rows cannot be read any more. The first reason is kept.
    pub(crate) fn rows_damaged(&self, reason: &str) {
        if self.rows.set(reason.into()).is_ok() {
            tracing::error!(reason, "rows of the store are damaged");
            metrics::gauge!("estafette_storage_rows_damaged").set(1.0);
        }
    }

    /// Why rows cannot be read, if that was seen.
    pub(crate) fn rows_reason(&self) -> Option<Arc<str>> {
        self.rows.get().cloned()
    }

    /// It is whole again, or gone; true if it was known to be damaged.
    pub(crate) fn mended(&self, hash: &BodyHash) -> bool {
        self.damaged.lock().remove(hash).is_some()
    }

    /// How many are known to be damaged.
    pub(crate) fn damaged_count(&self) -> u64 {
        self.damaged.lock().len() as u64
    }

    /// Damaged bodies, in the order of their hashes.
    pub(crate) fn list(&self) -> Vec<(BodyHash, Arc<str>)> {
        self.damaged.lock().iter().map(|(hash, reason)| (*hash, Arc::clone(reason))).collect()
    }
}
