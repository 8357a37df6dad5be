//! The oracle: what senders were told, against what readers find. Pure: it reads no clock, file or socket.
//!
//! - An acknowledged message is there exactly once for each recipient, to the bit.
//! - One without an answer, or put off, is there once or not at all, and never in part.
//! - One that was refused, or never wholly sent, is not there.
//! - What was seen once stays until it is removed, and what was removed does not come back. A UID is never given to a second message; UIDVALIDITY is stable; UIDNEXT
//!   does not fall, and new messages get UIDs that are not below it.

mod history;
mod judge;
#[cfg(test)]
mod tests;
mod violation;

pub(crate) use history::{Account, Erased, Sent, Told};
pub(crate) use judge::{Counts, Tolerance, Verdict};
pub(crate) use violation::Violation;

use crate::message::{Digest, MessageId};
use std::collections::{BTreeMap, BTreeSet};

/// What is in one mailbox, as a reader saw it.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) account: Account,
    pub(crate) uid_validity: u32,
    /// `None` when the protocol does not tell (POP3).
    pub(crate) uid_next: Option<u32>,
    /// In the order in which they were listed.
    pub(crate) found: Vec<Found>,
}

/// One message of a mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) uid: u32,
    pub(crate) content: Content,
}

/// What reading a message gave.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Not read this time; its UID was.
    Listed,
    /// A message of ours, with the digest of what was read.
    Ours(MessageId, Digest),
    /// Its size as listed is not the size of what was read.
    WrongSize(MessageId),
    /// No message of ours, or one without its head.
    Foreign,
    /// The server gave an error.
    Unreadable,
}

/// What a reader got of a mailbox.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Read(Reading),
    /// The server gave an error for the mailbox as a whole.
    Refused(Account, String),
}

/// All that was told and seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    sent: BTreeMap<MessageId, Digest>,
    told: BTreeMap<Account, BTreeMap<MessageId, Told>>,
    mailboxes: BTreeMap<Account, Mailbox>,
}

/// What was seen of a mailbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox {
    uid_validity: Option<u32>,
    uid_next: u32,
    uids: BTreeMap<u32, MessageId>,
    /// Removed, by UID; true if the client was told so.
    erased: BTreeMap<u32, (MessageId, bool)>,
}

impl Oracle {
    /// Takes in what senders were told.
    pub(crate) fn record(&mut self, sent: impl IntoIterator<Item = Sent>) {
        for sent in sent {
            self.sent.insert(sent.id, sent.digest);
            for (account, told) in sent.told {
                self.told.entry(account).or_default().insert(sent.id, told);
            }
        }
    }

    /// Takes in what clients removed.
    pub(crate) fn record_erased(&mut self, erased: impl IntoIterator<Item = Erased>) {
        for Erased { account, uid, id, sure, .. } in erased {
            let of_uid = &mut self.mailboxes.entry(account).or_default().erased;
            let known = of_uid.get(&uid).is_some_and(|(_, sure)| *sure);
            of_uid.insert(uid, (id, sure || known));
        }
    }

    /// True if the message behind this UID is known, so that listing it is enough.
    pub(crate) fn knows(&self, account: Account, uid: u32) -> bool {
        self.mailboxes.get(&account).is_some_and(|mailbox| mailbox.uids.contains_key(&uid))
    }

    /// Takes in what was seen, for later readings to be compared with.
    pub(crate) fn absorb(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let Outcome::Read(reading) = outcome else { continue };
            let mailbox = self.mailboxes.entry(reading.account).or_default();
            mailbox.uid_validity = Some(reading.uid_validity);
            mailbox.uid_next = mailbox.uid_next.max(reading.uid_next.unwrap_or(0));
            for found in &reading.found {
                mailbox.uid_next = mailbox.uid_next.max(found.uid.saturating_add(1));
                if let Content::Ours(id, _) = found.content {
                    mailbox.uids.insert(found.uid, id);
                }
            }
            mailbox.settle(&reading.found.iter().map(|found| found.uid).collect());
        }
    }
}

impl Mailbox {
    /// A removal without an answer has taken place once a reading does not find the message. The opposite
    /// cannot be known: what a failed sync has left behind may still take effect at the next start.
    fn settle(&mut self, listed: &BTreeSet<u32>) {
        for (uid, (_, sure)) in self.erased.iter_mut().filter(|(uid, _)| !listed.contains(uid)) {
            *sure = true;
            self.uids.remove(uid);
        }
    }
}
