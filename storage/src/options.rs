//! How RocksDB is set up, and why.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, MergeOperands, Options,
};

use crate::count;
use crate::family::Family;
use crate::store::{Committing, Settings};

const MIB: usize = 1024 * 1024;
/// Bodies under this size stay in the tree: a blob file would cost more than it saves.
const MIN_BLOB_BYTES: u64 = 1024;
/// One blob file; small enough that collecting its garbage is a short job.
pub(crate) const BLOB_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The write-ahead log is bounded by this, and with it the time of a start.
const WAL_BYTES: u64 = 128 * 1024 * 1024;
/// Memory for rows not yet in files, all families together.
const MEMTABLES_BYTES: usize = 64 * MIB;
/// Share of a memtable's size that the filter of its keys takes.
const MEMTABLE_FILTER_SHARE: f64 = 0.02;

/// The settings and the one cache that all families share.
pub(crate) struct Tuning<'a> {
    settings: &'a Settings,
    cache: Cache,
}

impl<'a> Tuning<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Tuning<'a> {
        Tuning { settings, cache: Cache::new_lru_cache(settings.cache_bytes) }
    }

    pub(crate) fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_paranoid_checks(true);
        // The logs were made whole before RocksDB sees them (`recover`); whatever it still doubts is an error.
        options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_max_total_wal_size(WAL_BYTES);
        options.set_db_write_buffer_size(MEMTABLES_BYTES);
        options.set_max_background_jobs(self.settings.background_jobs);
        options.set_max_open_files(self.settings.open_files);
        options.set_bytes_per_sync(MIB as u64);
        options.set_keep_log_file_num(2);
        options.set_max_log_file_size(4 * MIB);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options
    }

    /// `None` is the family of the store's own rows.
    pub(crate) fn family(&self, family: Option<Family>) -> Options {
        let mut options = Options::default();
        options.set_block_based_table_factory(&self.table());
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_write_buffer_size(16 * MIB);
        options.set_max_write_buffer_number(3);
        // Most rows that are looked for have left memory: this spares searching it for them.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_FILTER_SHARE);
        options.set_target_file_size_base(32 * MIB as u64);
        // Whoever does the work of the store's thread wants to know when what happens.
        options.set_disable_auto_compactions(self.settings.committing == Committing::ByHand);
        if family == Some(Family::Blob) {
            options.set_write_buffer_size(32 * MIB);
            options.set_enable_blob_files(true);
            options.set_min_blob_size(MIN_BLOB_BYTES);
            options.set_blob_file_size(BLOB_FILE_BYTES);
            options.set_blob_compression_type(DBCompressionType::Lz4);
            // What is read is often read again, and from here it needs no call of the system, no checksum and
            // no decompression.
            options.set_blob_cache(&self.cache);
            // See `reclaim`.
            options.set_enable_blob_gc(false);
            options.set_blob_gc_force_threshold(1.0);
        } else {
            options.set_merge_operator(MERGE, full_merge, partial_merge);
        }
        options
    }

    fn table(&self) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(8 * 1024);
        table.set_bloom_filter(10.0, false);
        table.set_optimize_filters_for_memory(true);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_format_version(6);
        table
    }
}

/// Stands in the files: never change it.
const MERGE: &str = "estafette.add_i64";

fn full_merge(_key: &[u8], old: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let start = match old {
        Some(value) => count::decode(value)?,
        None => 0,
    };
    sum(start, operands)
}

fn partial_merge(_key: &[u8], _old: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    sum(0, operands)
}

fn sum(start: i64, operands: &MergeOperands) -> Option<Vec<u8>> {
    let mut total = start;
    for operand in operands {
        total = total.checked_add(count::decode(operand)?)?;
    }
    Some(count::encode(total).to_vec())
}
