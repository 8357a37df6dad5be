//! What clients say over IMAP: one command after the other, for each profile.

use super::connection::Connection;
use crate::error::BenchError;
use crate::message::Messages;
use clap::ValueEnum;
use std::io::Write;

/// What the sessions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImapProfile {
    /// Whole messages, one a command.
    Fetch,
    /// Envelopes, flags and sizes of 50 messages a command.
    Headers,
    /// Searches for flags, dates, sizes and header fields, in turn.
    Search,
    /// Searches for words in the text.
    SearchText,
    /// A flag on and off.
    Store,
    /// Selecting and leaving the mailbox.
    Select,
    /// Adding messages.
    Append,
    /// Counting what is unseen elsewhere.
    Status,
    /// What a client does in a day, in turn: see [`MIXED`].
    Mixed,
}

/// Messages of a command that lists them.
const LISTED: u64 = 50;

/// A round of the mixed profile: more reading than writing, as clients do.
const MIXED: [ImapProfile; 16] = [
    ImapProfile::Select,
    ImapProfile::Headers,
    ImapProfile::Fetch,
    ImapProfile::Store,
    ImapProfile::Fetch,
    ImapProfile::Status,
    ImapProfile::Fetch,
    ImapProfile::Store,
    ImapProfile::Search,
    ImapProfile::Status,
    ImapProfile::Headers,
    ImapProfile::Fetch,
    ImapProfile::Store,
    ImapProfile::Append,
    ImapProfile::Status,
    ImapProfile::Fetch,
];

/// What is searched for: every message of the loads is from one of them and has one of these words.
const SEARCHES: [&str; 6] = [
    "UNSEEN",
    "SINCE 1-Nov-2026 UNDELETED",
    "FROM \"sender\"",
    "SUBJECT \"Message 11\"",
    "LARGER 1000 UNFLAGGED",
    "HEADER Message-ID \"load.test\"",
];
const WORDS: [&str; 4] = ["horse", "station", "letterbox", "rider"];

/// One session: it goes through its mailbox message by message.
pub(super) struct Reader {
    exists: u64,
    /// Commands of each profile so far: `Mixed` itself, and each that it is made of.
    turns: [u64; 9],
    messages: Messages,
    size: usize,
}

impl Reader {
    /// In a mailbox with so many messages; those that it adds have this size.
    pub(super) fn new(worker: usize, exists: u64, size: usize) -> Reader {
        Reader { exists: exists.max(1), turns: [0; 9], messages: Messages::new(worker), size }
    }

    fn turn(&mut self, profile: ImapProfile) -> u64 {
        self.turns.get_mut(profile as usize).map_or(0, |turn| {
            *turn += 1;
            *turn - 1
        })
    }

    /// One command of the profile, up to its OK.
    pub(super) async fn command(
        &mut self,
        profile: ImapProfile,
        connection: &mut Connection,
    ) -> Result<(), BenchError> {
        let profile = match profile {
            ImapProfile::Mixed => pick(&MIXED, self.turn(ImapProfile::Mixed)).unwrap_or(ImapProfile::Fetch),
            one => one,
        };
        let turn = self.turn(profile);
        let number = turn % self.exists + 1;
        let out = connection.command();
        match profile {
            ImapProfile::Fetch | ImapProfile::Mixed => write!(out, "a FETCH {number} BODY.PEEK[]\r\n")?,
            ImapProfile::Headers => {
                let last = (number + LISTED - 1).min(self.exists);
                let first = last.saturating_sub(LISTED - 1).max(1);
                write!(out, "a FETCH {first}:{last} (FLAGS RFC822.SIZE ENVELOPE)\r\n")?;
            }
            ImapProfile::Search => {
                write!(out, "a UID SEARCH {}\r\n", pick(&SEARCHES, turn).unwrap_or("ALL"))?;
            }
            ImapProfile::SearchText => {
                write!(out, "a UID SEARCH BODY \"{}\"\r\n", pick(&WORDS, turn).unwrap_or("mail"))?;
            }
            ImapProfile::Store => {
                let sign = if (turn / self.exists).is_multiple_of(2) { '+' } else { '-' };
                write!(out, "a STORE {number} {sign}FLAGS (\\Flagged)\r\n")?;
            }
            ImapProfile::Select => out.extend_from_slice(b"a SELECT INBOX\r\n"),
            ImapProfile::Status => out.extend_from_slice(b"a STATUS Sent (MESSAGES UNSEEN UIDNEXT)\r\n"),
            ImapProfile::Append => return self.append(connection).await,
        }
        connection.flush().await?;
        connection.imap_done().await
    }

    async fn append(&mut self, connection: &mut Connection) -> Result<(), BenchError> {
        let mut message = Vec::with_capacity(self.size + 2);
        self.messages.write(self.size, &mut message);
        write!(connection.command(), "a APPEND Sent (\\Seen) {{{}}}\r\n", message.len())?;
        connection.flush().await?;
        connection.imap_go_on().await?;
        message.extend_from_slice(b"\r\n");
        connection.send(&message).await?;
        connection.imap_done().await
    }
}

fn pick<T: Copy>(of: &[T], turn: u64) -> Option<T> {
    let at = usize::try_from(turn % of.len().max(1) as u64).ok()?;
    of.get(at).copied()
}
