//! The part of the comparison that is about numbers and flags: UID, UIDNEXT, UIDVALIDITY, MODSEQ.

use super::judge::Bench;
use super::violation::Violation;
use super::{Found, Reading, State};

impl Bench<'_> {
    /// UIDs, UIDNEXT, UIDVALIDITY.
    pub(super) fn numbers(&mut self, reading: &Reading) {
        let (account, now) = (self.account, reading.uid_validity);
        if let Some(before) = self.known.uid_validity.filter(|before| *before != now) {
            self.breach(Violation::UidValidity { account, before, now });
        }
        let before = self.known.uid_next.max(self.known.told_uid_next);
        if let Some(now) = reading.uid_next.filter(|now| *now < before) {
            self.breach(Violation::UidNextFell { account, before, now });
        }
        let mut last = 0;
        for Found { uid, .. } in &reading.found {
            if *uid <= last {
                self.breach(Violation::UidOrder { account, uid: *uid });
            }
            last = *uid;
            if let Some(uid_next) = reading.uid_next.filter(|next| uid >= next) {
                self.breach(Violation::UidNotBelowNext { account, uid: *uid, uid_next });
            }
            let known = self.known.uids.contains_key(uid) || self.known.erased.contains_key(uid);
            if *uid < self.known.uid_next && !known {
                self.breach(Violation::UidBelowNext { account, uid: *uid, uid_next: self.known.uid_next });
            }
        }
    }

    /// MODSEQ and flags.
    pub(super) fn states(&mut self, reading: &Reading) {
        let (account, told) = (self.account, self.known.told_modseq);
        if let Some(now) = reading.highest_modseq.filter(|now| *now < told) {
            self.breach(Violation::ModSeqFell { account, before: told, now });
        }
        for Found { uid, state, .. } in &reading.found {
            if let Some(state) = *state {
                self.state(*uid, state);
            }
        }
    }

    fn state(&mut self, uid: u32, now: State) {
        let (account, before) = (self.account, self.known.read_modseq);
        let known = self.known.states.get(&uid);
        if let Some(flags) = known.and_then(|known| known.flags) {
            let may = known.is_some_and(|known| known.unsure.contains(&now.flags));
            if now.flags != flags && !may {
                let (told, now) = (flags.to_string(), now.flags.to_string());
                self.breach(Violation::FlagsLost { account, uid, told, now });
            }
        }
        // What is not as it was at the last reading has to be above what all was then.
        let changed = match known.and_then(|known| known.read) {
            Some(read) => read.flags != now.flags || now.modseq < read.modseq,
            None => !self.known.uids.contains_key(&uid) && !self.known.erased.contains_key(&uid),
        };
        if changed && now.modseq <= before {
            self.breach(Violation::ModSeqStale { account, uid, modseq: now.modseq, before });
        }
    }
}
