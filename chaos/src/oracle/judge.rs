//! The comparison itself.

use super::history::{Account, Told};
use super::violation::Violation;
use super::{Content, Found, Mailbox, Oracle, Outcome, Reading};
use crate::message::MessageId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// What an error from the server counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    /// Errors are violations.
    None,
    /// The files were damaged: an error is a right answer; a wrong or a missing message is not.
    Errors,
}

/// What a comparison gave.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) counts: Counts,
}

/// How much was compared, in recipients of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Acknowledged, so they had to be there.
    pub(crate) acknowledged: u64,
    /// Without an answer or put off, and there.
    pub(crate) unsure_there: u64,
    /// Without an answer or put off, and not there.
    pub(crate) unsure_absent: u64,
    /// Removed by clients, or perhaps so.
    pub(crate) erased: u64,
    /// Errors in place of messages, mailboxes that gave an error included.
    pub(crate) unreadable: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.acknowledged += other.acknowledged;
        self.unsure_there += other.unsure_there;
        self.unsure_absent += other.unsure_absent;
        self.erased += other.erased;
        self.unreadable += other.unreadable;
    }
}

impl Oracle {
    /// Compares what was read with all that was told and seen before.
    pub(crate) fn judge(&self, outcomes: &[Outcome], tolerance: Tolerance) -> Verdict {
        let mut verdict = Verdict::default();
        let unknown = Mailbox::default();
        let nothing = BTreeMap::new();
        let mut read = Vec::new();
        for outcome in outcomes {
            match outcome {
                Outcome::Read(reading) => {
                    let account = reading.account;
                    let told = self.told.get(&account).unwrap_or(&nothing);
                    let known = self.mailboxes.get(&account).unwrap_or(&unknown);
                    let mut bench =
                        Bench { oracle: self, known, told, tolerance, account, verdict: &mut verdict };
                    bench.reading(reading);
                    read.push(account);
                }
                Outcome::Refused(account, reason) => {
                    verdict.counts.unreadable += 1;
                    read.push(*account);
                    if tolerance == Tolerance::None {
                        verdict
                            .violations
                            .push(Violation::Refused { account: *account, reason: reason.clone() });
                    }
                }
            }
        }
        let unread = self.told.keys().filter(|account| !read.contains(account));
        verdict.violations.extend(unread.map(|account| Violation::Unread { account: *account }));
        verdict
    }
}

/// The comparison of one mailbox.
pub(super) struct Bench<'a> {
    oracle: &'a Oracle,
    pub(super) known: &'a Mailbox,
    told: &'a BTreeMap<MessageId, Told>,
    tolerance: Tolerance,
    pub(super) account: Account,
    verdict: &'a mut Verdict,
}

impl Bench<'_> {
    fn reading(&mut self, reading: &Reading) {
        self.numbers(reading);
        self.states(reading);
        let mut times: BTreeMap<MessageId, usize> = BTreeMap::new();
        let mut unidentified = 0_u64;
        for found in &reading.found {
            match self.identify(found) {
                Some(id) => *times.entry(id).or_default() += 1,
                None => unidentified += u64::from(matches!(found.content, Content::Unreadable)),
            }
        }
        self.vanished(reading);
        self.presence(&times, unidentified);
    }

    pub(super) fn breach(&mut self, violation: Violation) {
        self.verdict.violations.push(violation);
    }

    /// Which message it is; says so when it is not as it should be.
    fn identify(&mut self, found: &Found) -> Option<MessageId> {
        let (account, uid) = (self.account, found.uid);
        let erased = self.known.erased.get(&uid).copied();
        let before = self.known.uids.get(&uid).copied().or(erased.map(|(id, _)| id));
        if let Some((id, true)) = erased {
            self.breach(Violation::Returned { account, id, uid });
        }
        match found.content {
            Content::Ours(id, digest) => {
                match self.oracle.sent.get(&id) {
                    None => self.breach(Violation::Foreign { account, uid }),
                    Some(sent) if *sent != digest => self.breach(Violation::Damaged { account, id, uid }),
                    Some(_) => {}
                }
                if let Some(before) = before.filter(|before| *before != id) {
                    self.breach(Violation::UidReused { account, uid, before, now: id });
                }
                Some(id)
            }
            Content::WrongSize(id) => {
                self.breach(Violation::Damaged { account, id, uid });
                Some(id)
            }
            Content::Foreign => {
                self.breach(Violation::Foreign { account, uid });
                before
            }
            Content::Unreadable => {
                self.verdict.counts.unreadable += 1;
                if self.tolerance == Tolerance::None {
                    self.breach(Violation::Unreadable { account, uid });
                }
                before
            }
            Content::Listed => before,
        }
    }

    /// What was seen before has to be listed still.
    fn vanished(&mut self, reading: &Reading) {
        let listed: std::collections::BTreeSet<u32> = reading.found.iter().map(|found| found.uid).collect();
        let gone: Vec<(u32, MessageId)> = self.known.uids.iter().map(|(uid, id)| (*uid, *id)).collect();
        let excused = |uid: &u32| listed.contains(uid) || self.known.erased.contains_key(uid);
        for (uid, id) in gone.into_iter().filter(|(uid, _)| !excused(uid)).collect::<Vec<_>>() {
            self.breach(Violation::Vanished { account: self.account, id, uid });
        }
    }

    /// What was told, against how often it is there. So many of those missing as could not be identified
    /// are not called lost.
    fn presence(&mut self, times: &BTreeMap<MessageId, usize>, mut unidentified: u64) {
        let account = self.account;
        for (&id, &count) in times {
            if count > 1 {
                self.breach(Violation::Doubled { account, id, count });
            }
            match self.told.get(&id) {
                None if self.oracle.sent.contains_key(&id) => {
                    self.breach(Violation::Misdelivered { account, id })
                }
                Some(told) if !told.may_be_there() => self.breach(Violation::Unwanted { account, id }),
                _ => {}
            }
        }
        let erased: BTreeMap<MessageId, bool> = self.known.erased.values().copied().collect();
        for (&id, told) in self.told {
            let there = times.contains_key(&id);
            if erased.contains_key(&id) {
                self.verdict.counts.erased += 1;
            } else if told.must_be_there() {
                self.verdict.counts.acknowledged += 1;
                if !there && unidentified > 0 {
                    unidentified -= 1;
                } else if !there {
                    self.breach(Violation::Lost { account, id });
                }
            } else if told.may_be_there() && there {
                self.verdict.counts.unsure_there += 1;
            } else if told.may_be_there() {
                self.verdict.counts.unsure_absent += 1;
            }
        }
    }
}
