//! Readers against good and hostile sources.
