//! A message of the queue as it is sent: read from the store chunk by chunk, as the server takes it.

use crate::notice;
use bytes::Bytes;
use estafette_smtp::client::{Looked, Outgoing};
use estafette_storage::{Body, CHUNK_BYTES, Error as StorageError};
use estafette_types::Envelope;

/// Bytes of a message that are held in memory while it is sent: what is read and what is on its way out.
pub(super) const HELD_BYTES: u64 = 2 * CHUNK_BYTES as u64;

/// The text of a message and how far it was read. It begins after the Return-Path that is ours alone.
pub(super) struct Letter {
    body: Body,
    start: u64,
    at: u64,
}

impl Letter {
    /// A message for a server, with the beginning of its text.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn open(body: &Body, envelope: Envelope) -> Result<(Outgoing, Letter), StorageError> {
        let first = body.read(0..CHUNK_BYTES as u64)?;
        let at = length(&first);
        let first = notice::without_return_path(first);
        let start = at.saturating_sub(length(&first));
        let rest = body.len().saturating_sub(at);
        let message = Outgoing { rest, ..Outgoing::new(envelope, first) };
        Ok((message, Letter { body: body.clone(), start, at }))
    }

    /// What comes next; nothing when it cannot be read.
    pub(super) fn read(&mut self) -> Vec<Bytes> {
        match self.body.read(self.at..self.at.saturating_add(CHUNK_BYTES as u64)) {
            Ok(pieces) => {
                self.at = self.at.saturating_add(length(&pieces));
                pieces
            }
            Err(error) => {
                unreadable(&error);
                Vec::new()
            }
        }
    }

    /// Looks through the whole text, on a thread where that may take its time; `None` when it cannot be read.
    pub(super) async fn look(&self) -> Option<Looked> {
        let (body, start) = (self.body.clone(), self.start);
        match tokio::task::spawn_blocking(move || look(&body, start)).await {
            Ok(Ok(looked)) => return Some(looked),
            Ok(Err(error)) => unreadable(&error),
            Err(error) => unreadable(&error),
        }
        None
    }
}

fn unreadable(error: &dyn std::error::Error) {
    tracing::error!(%error, "a message on its way to another server cannot be read");
}

fn look(body: &Body, start: u64) -> Result<Looked, StorageError> {
    let (mut at, mut failed) = (start, None);
    let chunks = std::iter::from_fn(|| {
        let from = at;
        at = body.len().min(from.saturating_add(CHUNK_BYTES as u64));
        let read = (from < at).then(|| body.read(from..at))?;
        read.map_err(|error| failed = Some(error)).ok()
    });
    let mut looking = Looked::begin();
    chunks.for_each(|pieces| pieces.iter().for_each(|piece| looking.see(piece)));
    match failed {
        Some(error) => Err(error),
        None => Ok(looking.end()),
    }
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}
