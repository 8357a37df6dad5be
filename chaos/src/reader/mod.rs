//! Reads all mailboxes for the oracle: by IMAP when the node serves it, else by POP3.

mod imap;
mod pop3;

pub(crate) use imap::{Imap, listed, number_after};
pub(crate) use pop3::Pop3;

use crate::message;
use crate::oracle::{Account, Content, Outcome};
use crate::wire::ANSWER_WAIT;
use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Mailboxes read at the same time.
const AT_ONCE: usize = 4;

/// Where to read.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    Imap(String),
    Pop3(String),
}

/// Who reads.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// All bytes of all messages.
    All,
    /// All UIDs, and the bytes of messages that were not seen before.
    New,
}

/// Says which messages are read to the bit; of the others only the UID is.
pub(crate) type Wanted = Arc<dyn Fn(Account, u32) -> bool + Send + Sync>;

/// Reads the mailboxes of all accounts.
pub(crate) async fn read(door: &Door, logins: &[Login], wanted: &Wanted) -> Vec<Outcome> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut readers = JoinSet::new();
    for (account, login) in logins.iter().cloned().enumerate() {
        let (door, places, wanted) = (door.clone(), Arc::clone(&places), Arc::clone(wanted));
        readers.spawn(async move {
            let _place = places.acquire().await;
            let wanted = move |uid| wanted(account, uid);
            let result = match &door {
                Door::Imap(address) => imap::read(address, &login, ANSWER_WAIT, account, &wanted).await,
                Door::Pop3(address) => pop3::read(address, &login, account, &wanted).await,
            };
            result.unwrap_or_else(|error| Outcome::Refused(account, error.to_string()))
        });
    }
    let mut outcomes = Vec::new();
    while let Some(outcome) = readers.join_next().await {
        outcomes.extend(outcome);
    }
    outcomes
}

/// What a stored message is. `size`: as it was listed.
fn content(stored: &[u8], size: Option<usize>) -> Content {
    match message::recognise(stored) {
        Some((id, _)) if size.is_some_and(|size| size != stored.len()) => Content::WrongSize(id),
        Some((id, digest)) => Content::Ours(id, digest),
        None => Content::Foreign,
    }
}

fn unexpected(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
