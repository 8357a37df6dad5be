//! Transcripts of sessions over an engine in memory.
#![allow(clippy::cast_possible_truncation)]

mod fetch;
mod input;
mod login;
mod mailboxes;
mod messages;
mod news;
mod parts;
mod random;
mod search;
