//! Rows that the one writer of some ranges lately read, kept in memory: counters of an account or of a mailbox are read
//! and written over with every message, and looking for them in memtables costs more than what is made of them.
//!
//! Invariants: what is held is what the store has, because only transactions over these rows write there
//! ([`Store::transaction_over`](crate::Store::transaction_over)) and tell of it when they are written; a read brings a row
//! in, a write only changes what is held, so rows that are written once leave room for those that are read; at most the
//! bytes that were allowed.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::family::Family;
use crate::overlay::{self, Entry, Overlay};

/// A longer value is read from the store each time.
const VALUE_BYTES_MAX: usize = 4096;
/// What a row takes beside its bytes, about.
const ROW_BYTES: usize = 128;

/// A handle; all clones hold the same rows.
#[derive(Clone, Debug)]
pub struct Recent(Arc<Mutex<Rows>>);

type Kept = HashMap<Vec<u8>, Bytes>;

#[derive(Debug)]
struct Rows {
    parts: Vec<Part>,
    /// Bytes of what is young, in all parts. When they are half of what is allowed, it becomes old, and what was old goes.
    young_bytes: usize,
    half_bytes: usize,
}

#[derive(Debug)]
struct Part {
    family: Family,
    range: Range<Vec<u8>>,
    young: Kept,
    old: Kept,
}

impl Recent {
    /// For the rows of these ranges, in at most so many bytes; none are held if that is 0.
    #[must_use]
    pub fn new(ranges: Vec<(Family, Range<Vec<u8>>)>, max_bytes: usize) -> Recent {
        let part = |(family, range)| Part { family, range, young: Kept::new(), old: Kept::new() };
        let parts = if max_bytes == 0 { Vec::new() } else { ranges.into_iter().map(part).collect() };
        Recent(Arc::new(Mutex::new(Rows { parts, young_bytes: 0, half_bytes: max_bytes / 2 })))
    }

    /// Forgets all: the rows were written by somebody else.
    pub fn clear(&self) {
        #[cfg(feature = "planted")]
        if crate::planted::is("recent-outlives-snapshot") {
            return;
        }
        let mut rows = self.0.lock();
        for part in &mut rows.parts {
            (part.young, part.old) = (Kept::new(), Kept::new());
        }
        rows.young_bytes = 0;
    }

    pub(crate) fn find(&self, family: Family, key: &[u8]) -> Option<Bytes> {
        self.0.lock().find(family, key)
    }

    /// Holds a row that the store has.
    pub(crate) fn keep(&self, family: Family, key: &[u8], value: &[u8]) {
        if value.len() <= VALUE_BYTES_MAX {
            self.0.lock().keep(family, key, Bytes::copy_from_slice(value));
        }
    }

    /// The store has what a transaction did to the rows of a family.
    pub(crate) fn written(&self, family: Family, overlay: &Overlay) {
        let mut rows = self.0.lock();
        for part in rows.parts.iter_mut().filter(|part| part.family == family) {
            for range in &overlay.gone {
                part.young.retain(|key, _| !overlay::holds(range, key));
                part.old.retain(|key, _| !overlay::holds(range, key));
            }
        }
        for (key, entry) in &overlay.rows {
            match entry {
                Entry::Put(value) if value.len() <= VALUE_BYTES_MAX => rows.change(family, key, value),
                Entry::Put(_) | Entry::Delete | Entry::Add(_) => rows.forget(family, key),
            }
        }
    }
}

impl Rows {
    fn part(&mut self, family: Family, key: &[u8]) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.family == family && overlay::holds(&part.range, key))
    }

    fn find(&mut self, family: Family, key: &[u8]) -> Option<Bytes> {
        let part = self.part(family, key)?;
        if let Some(value) = part.young.get(key) {
            return Some(value.clone());
        }
        let value = part.old.remove(key)?;
        self.keep(family, key, value.clone());
        Some(value)
    }

    fn keep(&mut self, family: Family, key: &[u8], value: Bytes) {
        let bytes = key.len() + value.len() + ROW_BYTES;
        let Some(part) = self.part(family, key) else { return };
        part.young.insert(key.to_vec(), value);
        self.grow(bytes);
    }

    fn grow(&mut self, bytes: usize) {
        self.young_bytes = self.young_bytes.saturating_add(bytes);
        if self.young_bytes > self.half_bytes {
            for part in &mut self.parts {
                part.old = std::mem::take(&mut part.young);
            }
            self.young_bytes = 0;
        }
    }

    fn change(&mut self, family: Family, key: &[u8], value: &Bytes) {
        let Some(part) = self.part(family, key) else { return };
        if let Some(held) = part.young.get_mut(key) {
            let more = value.len().saturating_sub(held.len());
            *held = value.clone();
            self.grow(more);
        } else if part.old.remove(key).is_some() {
            self.keep(family, key, value.clone());
        }
    }

    fn forget(&mut self, family: Family, key: &[u8]) {
        if let Some(part) = self.part(family, key) {
            part.young.remove(key);
            part.old.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read::Read;
    use crate::store::{Settings, Store};
    use crate::{Batch, Transaction};

    const FAMILY: Family = Family::Row;
    const MAX_BYTES: usize = 1200;
    const LONG: usize = 300;

    fn owned() -> Range<Vec<u8>> {
        vec![10]..vec![30]
    }

    fn recent() -> Recent {
        Recent::new(vec![(Family::Queue, vec![0]..vec![9]), (FAMILY, owned())], MAX_BYTES)
    }

    fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(dir.path(), Settings { min_free_bytes: 0, ..Settings::default() }).unwrap()
    }

    fn read(tx: &Transaction, key: u8) -> Option<Vec<u8>> {
        tx.read(FAMILY, &[key]).unwrap().map(|value| value.to_vec())
    }

    fn held(recent: &Recent) -> (usize, usize) {
        let rows = recent.0.lock();
        let kept = rows.parts.iter().flat_map(|part| part.young.iter().chain(&part.old));
        kept.fold((0, 0), |(count, bytes), (key, value)| {
            (count + 1, bytes + key.len() + value.len() + ROW_BYTES)
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Read(u8),
        Put(u8, usize),
        Delete(u8),
        Add(u8),
        Gone(u8, u8),
        Back,
        Write,
        Drop,
    }

    fn step() -> impl Strategy<Value = Step> {
        let key = 5..35_u8;
        prop_oneof![
            8 => key.clone().prop_map(Step::Read),
            // The others are counters.
            4 => (5..26_u8, prop_oneof![Just(8), Just(LONG), Just(VALUE_BYTES_MAX + 1)])
                .prop_map(|(key, len)| Step::Put(key, len)),
            2 => key.clone().prop_map(Step::Delete),
            1 => (26..30_u8).prop_map(Step::Add),
            1 => (key.clone(), key).prop_map(|(from, to)| Step::Gone(from, to)),
            1 => Just(Step::Back),
            3 => Just(Step::Write),
            1 => Just(Step::Drop),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_transaction_reads_what_one_without_reads(steps in proptest::collection::vec(step(), 1..200)) {
            let dir = tempfile::tempdir().unwrap();
            let (store, recent) = (store(&dir), recent());
            let mut tx = store.transaction_over(&recent);
            let mut savepoint = tx.savepoint();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Read(key) => {
                        let plain = store.read(FAMILY, &[key]).unwrap().map(|value| value.to_vec());
                        let fresh = store.transaction_over(&recent);
                        prop_assert_eq!(read(&fresh, key), plain);
                        let _ = read(&tx, key);
                    }
                    Step::Put(key, len) => tx.put(FAMILY, [key], vec![u8::try_from(number).unwrap_or(0); len]),
                    Step::Delete(key) => tx.delete(FAMILY, [key]),
                    Step::Add(key) => tx.merge_add(FAMILY, [key], 1),
                    Step::Gone(from, to) => tx.delete_range(FAMILY, vec![from]..vec![to]),
                    Step::Back => tx.rollback_to(savepoint),
                    Step::Write | Step::Drop => {
                        if matches!(step, Step::Write) {
                            store.apply(tx).unwrap();
                        }
                        tx = store.transaction_over(&recent);
                        savepoint = tx.savepoint();
                    }
                }
                // A row that makes the young ones old is with them.
                prop_assert!(held(&recent).1 <= MAX_BYTES + 2 * (LONG + ROW_BYTES + 1));
            }
        }
    }

    #[test]
    fn holds_what_is_read_again_and_not_what_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let (store, recent) = (store(&dir), recent());
        let mut tx = store.transaction_over(&recent);
        tx.put(FAMILY, [10], "a");
        tx.put(FAMILY, [11], "b");
        tx.put(FAMILY, [31], "outside");
        store.apply(tx).unwrap();
        assert_eq!(held(&recent).0, 0);
        let tx = store.transaction_over(&recent);
        assert_eq!((read(&tx, 10), read(&tx, 31)), (Some(b"a".to_vec()), Some(b"outside".to_vec())));
        assert_eq!(held(&recent).0, 1);
        // It is this that is read, which is seen when somebody else writes there.
        let mut batch = Batch::new();
        batch.put(FAMILY, [10], "by another");
        store.apply_batch(batch).unwrap();
        assert_eq!(read(&tx, 10), Some(b"a".to_vec()));
        recent.clear();
        assert_eq!(read(&tx, 10), Some(b"by another".to_vec()));
        // None are held where none may be.
        let none = Recent::new(vec![(FAMILY, owned())], 0);
        assert!(read(&store.transaction_over(&none), 10).is_some());
        assert_eq!(held(&none).0, 0);
    }

    #[test]
    fn a_row_in_use_outlives_those_that_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let (store, recent) = (store(&dir), recent());
        let mut tx = store.transaction();
        (10..30).for_each(|key| tx.put(FAMILY, [key], [0; 40]));
        store.apply(tx).unwrap();
        for key in 11..30 {
            let tx = store.transaction_over(&recent);
            let _ = (read(&tx, 10), read(&tx, key));
            assert!(recent.find(FAMILY, &[10]).is_some(), "after {key}");
        }
        assert!(held(&recent).0 < 10);
    }
}
