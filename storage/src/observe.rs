//! What RocksDB says of itself, as gauges.

use std::fs;

use crate::family::Family;
use crate::store::{Health, Store};
use crate::wal;

/// Missing bodies are counted up to this: each is a step of an iterator.
const MISSING_MAX: usize = 1000;

/// Publishes the state of the store as gauges; call it when metrics are collected. Cheap: RocksDB has
/// the numbers at hand. What cannot be read is left out.
///
/// - `estafette_storage_memtable_bytes`, `_sst_bytes`, `_blob_bytes`, `_blob_garbage_bytes`,
///   `_pending_compaction_bytes`, each by `family`
/// - `estafette_storage_cache_bytes`, `_wal_bytes`, `_free_bytes`, `_reserve_bytes` (kept back on the disk),
///   `_background_errors`, `_write_stopped`, `_failed`, `_rows_damaged`
/// - `estafette_storage_bodies_damaged`, `_bodies_missing`: known now; of the missing no more than 1,000 are counted
pub fn record_metrics(store: &Store) {
    let database = store.database();
    for family in Family::ALL {
        let handle = database.handle(family);
        let read = |property: &str| database.db().property_int_value_cf(handle, property).ok().flatten();
        for (name, value) in [
            ("estafette_storage_memtable_bytes", read("rocksdb.cur-size-all-mem-tables")),
            ("estafette_storage_sst_bytes", read("rocksdb.total-sst-files-size")),
            ("estafette_storage_blob_bytes", read("rocksdb.total-blob-file-size")),
            ("estafette_storage_blob_garbage_bytes", read("rocksdb.live-blob-file-garbage-size")),
            ("estafette_storage_pending_compaction_bytes", read("rocksdb.estimate-pending-compaction-bytes")),
        ] {
            if let Some(value) = value {
                metrics::gauge!(name, "family" => family.name()).set(value as f64);
            }
        }
    }
    let read = |property: &str| database.db().property_int_value(property).ok().flatten();
    for (name, value) in [
        ("estafette_storage_cache_bytes", read("rocksdb.block-cache-usage")),
        ("estafette_storage_background_errors", read("rocksdb.background-errors")),
        ("estafette_storage_write_stopped", read("rocksdb.is-write-stopped")),
        ("estafette_storage_wal_bytes", wal_bytes(store)),
        ("estafette_storage_free_bytes", Some(store.space().free_bytes())),
        ("estafette_storage_reserve_bytes", Some(store.space().reserve_bytes())),
        ("estafette_storage_bodies_damaged", Some(database.findings().damaged_count())),
        ("estafette_storage_bodies_missing", missing_count(store)),
        ("estafette_storage_failed", Some(u64::from(store.health() == Health::Failed))),
        ("estafette_storage_rows_damaged", Some(u64::from(store.damage().is_some()))),
    ] {
        if let Some(value) = value {
            metrics::gauge!(name).set(value as f64);
        }
    }
}

fn missing_count(store: &Store) -> Option<u64> {
    store.missing(None, MISSING_MAX).ok().map(|missing| missing.len() as u64)
}

fn wal_bytes(store: &Store) -> Option<u64> {
    let logs = wal::logs(&store.dir().join("db")).ok()?;
    Some(logs.iter().filter_map(|log| fs::metadata(log).ok()).map(|metadata| metadata.len()).sum())
}
