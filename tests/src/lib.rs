//! Tests of the whole: rules of the house in `tests/`, real clients in `clients/` (run by pytest).
#![forbid(unsafe_code)]
