//! The oracle: what senders were told, against what readers find. Pure: it reads no clock, file or socket.
//!
//! - An acknowledged message is there exactly once for each recipient, to the bit.
//! - One without an answer, or put off, is there once or not at all, and never in part.
//! - One that was refused, or never wholly sent, is not there.
//! - What was seen once stays until it is removed, and what was removed does not come back. A UID is never
//!   given to a second message; UIDVALIDITY is stable; UIDNEXT does not fall, and new messages get UIDs that
//!   are not below it. HIGHESTMODSEQ does not fall, and what is new or changed is above what it was.
//! - Flags are those that a client was told to be stored, or that one without an answer asked for.
//! - All nodes show the same.

mod equal;
mod history;
mod judge;
mod numbers;
#[cfg(test)]
mod tests;
mod violation;

pub(crate) use equal::differences;
pub(crate) use history::{Account, Erased, Flags, Glimpse, Sent, Stored, Told};
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
    pub(crate) highest_modseq: Option<u64>,
    /// In the order in which they were listed.
    pub(crate) found: Vec<Found>,
}

/// One message of a mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) uid: u32,
    pub(crate) content: Content,
    /// `None` where the protocol does not tell (POP3).
    pub(crate) state: Option<State>,
}

/// What can change of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) flags: Flags,
    pub(crate) modseq: u64,
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
    /// Of the last reading of everything: what was below it then is known.
    uid_next: u32,
    /// The highest that any session was told.
    told_uid_next: u32,
    uids: BTreeMap<u32, MessageId>,
    /// Removed, by UID; true if the client was told so.
    erased: BTreeMap<u32, (MessageId, bool)>,
    /// The highest MODSEQ that any session was told, and that of the last reading of everything.
    told_modseq: u64,
    read_modseq: u64,
    states: BTreeMap<u32, Known>,
}

/// What is known of a message's flags.
#[derive(Clone, Debug, Default)]
struct Known {
    /// As last read or stored; `None`: neither.
    flags: Option<Flags>,
    /// As last read, until they are stored anew.
    read: Option<State>,
    /// Asked for without an answer. A reading does not settle it: what a failed sync has left behind may take
    /// effect at the next start.
    unsure: BTreeSet<Flags>,
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

    /// Takes in what clients stored, in the order of each account.
    pub(crate) fn record_stored(&mut self, stored: impl IntoIterator<Item = Stored>) {
        for Stored { account, uid, flags, sure } in stored {
            let known = self.mailboxes.entry(account).or_default().states.entry(uid).or_default();
            if sure {
                known.flags = Some(flags);
            } else {
                known.unsure.insert(flags);
            }
        }
    }

    /// Takes in what sessions were told.
    pub(crate) fn record_glimpses(&mut self, glimpses: impl IntoIterator<Item = Glimpse>) {
        for glimpse in glimpses {
            let mailbox = self.mailboxes.entry(glimpse.account).or_default();
            mailbox.uid_validity.get_or_insert(glimpse.uid_validity);
            mailbox.told_uid_next = mailbox.told_uid_next.max(glimpse.uid_next);
            mailbox.told_modseq = mailbox.told_modseq.max(glimpse.highest_modseq);
        }
    }

    /// True if the message behind this UID is known, so that listing it is enough.
    pub(crate) fn knows(&self, account: Account, uid: u32) -> bool {
        self.mailboxes.get(&account).is_some_and(|mailbox| mailbox.uids.contains_key(&uid))
    }

    /// Takes in what was seen, for later readings to be compared with.
    pub(crate) fn absorb<'a>(&mut self, outcomes: impl IntoIterator<Item = &'a Outcome>) {
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
                if let Some(state) = found.state {
                    let known = mailbox.states.entry(found.uid).or_default();
                    (known.flags, known.read) = (Some(state.flags), Some(state));
                }
            }
            let modseq = reading.highest_modseq.unwrap_or(0);
            mailbox.read_modseq = mailbox.read_modseq.max(modseq);
            mailbox.told_modseq = mailbox.told_modseq.max(modseq);
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
        self.states.retain(|uid, _| listed.contains(uid));
    }
}
