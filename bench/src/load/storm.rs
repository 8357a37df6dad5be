//! Deliveries that fall on few mailboxes, or on many at once.

use super::LoadResult;
use super::ingest::{Ingest, Mail};
use crate::error::BenchError;
use clap::{Args, ValueEnum};

/// Which storm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    /// Many senders, each with a session, write to few recipients.
    ManySenders,
    /// One sender writes to many recipients with each message.
    ManyRecipients,
}

/// Delivers messages of many senders to few recipients, or of one sender to many.
#[derive(Args, Clone, Debug)]
pub(crate) struct Storm {
    /// Which of both.
    #[arg(long, value_enum, default_value = "many-senders")]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) mail: Mail,
    /// Senders, each with a session of its own.
    #[arg(long, default_value_t = 200)]
    pub(crate) senders: usize,
    /// Recipients that many senders write to.
    #[arg(long, default_value_t = 2)]
    pub(crate) few: usize,
    /// Recipients of each message of one sender.
    #[arg(long, default_value_t = 100)]
    pub(crate) many: usize,
}

impl Storm {
    /// Runs it; an operation is a message.
    pub(crate) async fn run(self) -> Result<LoadResult, BenchError> {
        let mut mail = self.mail;
        let (senders, recipients_each) = match self.shape {
            Shape::ManySenders => {
                mail.recipients.truncate(self.few.max(1));
                (self.senders, 1)
            }
            Shape::ManyRecipients => (1, self.many.min(mail.recipients.len())),
        };
        Ingest { mail, recipients_each, senders, sessions: senders }.run().await
    }
}
