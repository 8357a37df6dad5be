//! What RocksDB says of itself, as gauges.
