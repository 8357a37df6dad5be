//! The generic half of a check of the whole store: bodies, references, holds.
