//! One LMTP session that delivers whenever it is told to, for those who time each message themselves.

use super::connection::Connection;
use super::ingest::{Protocol, transaction};
use super::target::Target;
use crate::error::BenchError;
use crate::message::Messages;
use std::time::{Duration, Instant};

/// An open session.
pub(crate) struct Courier {
    connection: Connection,
    messages: Messages,
    message: Vec<u8>,
}

impl Courier {
    /// Opens one to this server, host:port. Messages of equal workers differ by the moment of this alone.
    pub(crate) async fn open(address: &str, worker: usize) -> Result<Courier, BenchError> {
        let connection = Target::plain(address).dialer(false)?.mail(Protocol::Lmtp).await?;
        Ok(Courier { connection, messages: Messages::new(worker), message: Vec::new() })
    }

    /// Delivers a message of so many bytes; how long its acknowledgement took. After an error the session is of no
    /// more use.
    pub(crate) async fn deliver(&mut self, recipient: &str, bytes: usize) -> Result<Duration, BenchError> {
        self.messages.write(bytes, &mut self.message);
        self.message.extend_from_slice(b".\r\n");
        let began = Instant::now();
        let recipients = std::iter::once(recipient);
        transaction(&mut self.connection, Protocol::Lmtp, 0, recipients, &self.message).await?;
        Ok(began.elapsed())
    }
}
