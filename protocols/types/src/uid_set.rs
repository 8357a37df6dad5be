//! A set of UIDs held as runs, and the sequence numbers that follow from it.
//!
//! A mailbox of a million messages without gaps is one run of twelve bytes. Each run knows how many
//! UIDs stand before it, so sequence number to UID and back are binary searches (RFC 9051 §2.3.1.2).
//! Invariant: runs ascend, do not touch each other, and `before` is the sum of the lengths before.

use crate::Uid;
use std::fmt;

/// UIDs from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: Uid,
    last: Uid,
    before: u32,
}

impl Run {
    fn len(self) -> u32 {
        (self.last.value() - self.first.value()).saturating_add(1)
    }
}

/// A set of UIDs in ascending order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UidSet {
    runs: Vec<Run>,
}

impl UidSet {
    /// No UID at all.
    pub const fn new() -> UidSet {
        UidSet { runs: Vec::new() }
    }

    /// All UIDs between the two, both included, in whichever order they are given.
    pub fn range(one: Uid, other: Uid) -> UidSet {
        UidSet { runs: vec![Run { first: one.min(other), last: one.max(other), before: 0 }] }
    }

    /// A set of one.
    pub fn one(uid: Uid) -> UidSet {
        UidSet::range(uid, uid)
    }

    /// A set of runs (first and last UID) in any order; they may overlap. Linear when they ascend.
    pub fn from_runs(runs: impl IntoIterator<Item = (Uid, Uid)>) -> UidSet {
        let mut set = UidSet::new();
        let mut late: Vec<(Uid, Uid)> = Vec::new();
        for (first, last) in runs {
            let (first, last) = (first.min(last), first.max(last));
            match set.last() {
                Some(end) if first <= end => late.push((first, last)),
                _ => set.append(first, last),
            }
        }
        if late.is_empty() {
            return set;
        }
        late.sort_unstable();
        let mut other = UidSet::new();
        for (first, last) in late {
            other.append(first, last);
        }
        set.union(&other)
    }

    /// How many UIDs there are.
    pub fn len(&self) -> u32 {
        self.runs.last().map_or(0, |run| run.before.saturating_add(run.len()))
    }

    /// True without any UID.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The lowest UID.
    pub fn first(&self) -> Option<Uid> {
        self.runs.first().map(|run| run.first)
    }

    /// The highest UID.
    pub fn last(&self) -> Option<Uid> {
        self.runs.last().map(|run| run.last)
    }

    /// True when the UID is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        self.sequence_of(uid).is_some()
    }

    /// The sequence number of a UID: its place in the set, from 1.
    pub fn sequence_of(&self, uid: Uid) -> Option<u32> {
        let run = self.runs.get(self.runs.partition_point(|run| run.last < uid))?;
        if run.first > uid { None } else { Some(run.before + (uid.value() - run.first.value()) + 1) }
    }

    /// The UID at a sequence number, from 1.
    pub fn uid_at(&self, sequence: u32) -> Option<Uid> {
        let index = sequence.checked_sub(1)?;
        let after = self.runs.partition_point(|run| run.before <= index);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let offset = index - run.before;
        if offset < run.len() { Uid::new(run.first.value() + offset) } else { None }
    }

    /// How many UIDs are lower than or equal to this one.
    pub fn count_to(&self, uid: Uid) -> u32 {
        let after = self.runs.partition_point(|run| run.first <= uid);
        match after.checked_sub(1).and_then(|last| self.runs.get(last)) {
            None => 0,
            Some(run) => run.before + (run.last.min(uid).value() - run.first.value()) + 1,
        }
    }

    /// Adds a UID. Cheap when it is the highest; linear in the runs otherwise.
    pub fn insert(&mut self, uid: Uid) {
        match self.last() {
            Some(last) if uid <= last => {
                if !self.contains(uid) {
                    *self = self.union(&UidSet::one(uid));
                }
            }
            _ => self.append(uid, uid),
        }
    }

    /// Takes a UID out; says whether it was there. Linear in the runs after it.
    pub fn remove(&mut self, uid: Uid) -> bool {
        let there = self.contains(uid);
        if there {
            *self = self.difference(&UidSet::one(uid));
        }
        there
    }

    /// The runs, as first and last UID, ascending.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = (Uid, Uid)> + Clone + '_ {
        self.runs.iter().map(|run| (run.first, run.last))
    }

    /// Every UID, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.runs.iter().flat_map(|run| (run.first.value()..=run.last.value()).filter_map(Uid::new))
    }

    /// Those in either set; linear in the runs.
    pub fn union(&self, other: &UidSet) -> UidSet {
        let mut set = UidSet::new();
        let (mut left, mut right) = (self.runs().peekable(), other.runs().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(l), Some(r)) if l.0 <= r.0 => left.next(),
                (_, Some(_)) => right.next(),
                (_, None) => left.next(),
            };
            let Some((first, last)) = next else { return set };
            set.append(first, last);
        }
    }

    /// Those in both sets; linear in the runs.
    pub fn intersection(&self, other: &UidSet) -> UidSet {
        let mut set = UidSet::new();
        let (mut left, mut right) = (self.runs().peekable(), other.runs().peekable());
        while let (Some(&l), Some(&r)) = (left.peek(), right.peek()) {
            let (first, last) = (l.0.max(r.0), l.1.min(r.1));
            if first <= last {
                set.append(first, last);
            }
            if l.1 < r.1 {
                left.next()
            } else {
                right.next()
            };
        }
        set
    }

    /// Those in this set but not in the other; linear in the runs.
    pub fn difference(&self, other: &UidSet) -> UidSet {
        let mut set = UidSet::new();
        let mut right = other.runs().peekable();
        for (mut first, last) in self.runs() {
            let mut whole = true;
            while let Some(&(from, to)) = right.peek() {
                if to < first {
                    right.next();
                } else if from > last {
                    break;
                } else {
                    if let Some(end) = Uid::new(from.value() - 1).filter(|end| *end >= first) {
                        set.append(first, end);
                    }
                    match to.value().checked_add(1).and_then(Uid::new).filter(|next| *next <= last) {
                        Some(next) => first = next,
                        None => {
                            whole = false;
                            break;
                        }
                    }
                }
            }
            if whole {
                set.append(first, last);
            }
        }
        set
    }

    /// Bytes of memory that it takes beside itself.
    pub fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }

    /// Takes the lowest `count` UIDs out of the set and hands them over.
    pub fn split_off_first(&mut self, count: u32) -> UidSet {
        let Some(end) = self.uid_at(count.min(self.len())) else { return UidSet::new() };
        let head = self.intersection(&UidSet::range(Uid::MIN, end));
        *self = self.after(end);
        head
    }

    /// Those above a UID.
    pub fn after(&self, uid: Uid) -> UidSet {
        match uid.value().checked_add(1).and_then(Uid::new) {
            Some(next) => self.intersection(&UidSet::range(next, Uid::MAX)),
            None => UidSet::new(),
        }
    }

    /// Appends a run that begins no lower than the last one; joins what touches.
    fn append(&mut self, first: Uid, last: Uid) {
        let before = self.len();
        match self.runs.last_mut() {
            Some(end) if first.value() <= end.last.value().saturating_add(1) => end.last = end.last.max(last),
            _ => self.runs.push(Run { first, last, before }),
        }
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> UidSet {
        UidSet::from_runs(uids.into_iter().map(|uid| (uid, uid)))
    }
}

/// As IMAP writes it: `1:4,7`.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.runs().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            if first == last { write!(f, "{first}")? } else { write!(f, "{first}:{last}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn set(uids: &[u32]) -> UidSet {
        uids.iter().filter_map(|uid| Uid::new(*uid)).collect()
    }

    fn uid(value: u32) -> Uid {
        Uid::new(value).unwrap()
    }

    #[test]
    fn runs_join_and_print() {
        assert_eq!(set(&[1, 2, 3, 7]).to_string(), "1:3,7");
        assert_eq!(set(&[9, 2, 3, 1, 3, 8]).to_string(), "1:3,8:9");
        assert_eq!(UidSet::range(uid(4), Uid::MIN).len(), 4);
        assert_eq!(UidSet::range(Uid::MIN, Uid::MAX).len(), u32::MAX);
    }

    #[test]
    fn sequence_numbers_are_places() {
        let some = set(&[2, 3, 4, 10, 20, 21]);
        for (index, member) in some.iter().enumerate() {
            let sequence = u32::try_from(index).unwrap() + 1;
            assert_eq!(some.sequence_of(member), Some(sequence));
            assert_eq!(some.uid_at(sequence), Some(member));
            assert_eq!(some.count_to(member), sequence);
        }
        assert_eq!(some.uid_at(0), None);
        assert_eq!(some.uid_at(7), None);
        assert_eq!(some.sequence_of(uid(5)), None);
        assert_eq!(some.count_to(uid(1)), 0);
        assert_eq!(some.count_to(uid(15)), 4);
    }

    #[test]
    fn the_ends_of_the_range_are_safe() {
        let mut all = UidSet::range(Uid::MIN, Uid::MAX);
        assert!(all.remove(Uid::MAX) && all.remove(Uid::MIN) && all.remove(uid(5)));
        assert_eq!(all.to_string(), "2:4,6:4294967294");
        assert!(all.after(Uid::MAX).is_empty());
        all.insert(Uid::MAX);
        assert_eq!(all.last(), Some(Uid::MAX));
    }

    /// Every operation agrees with an ordered set of numbers, over all pairs of small sets.
    #[test]
    fn operations_agree_with_plain_sets() {
        let members =
            |bits: u32| (0..7).filter(|bit| bits & (1 << bit) != 0).map(|bit| bit + 1).collect::<Vec<u32>>();
        let plain = |of: &UidSet| of.iter().map(Uid::value).collect::<BTreeSet<u32>>();
        for a in 0..128 {
            for b in 0..128 {
                let (left, right) = (set(&members(a)), set(&members(b)));
                let (l, r) = (plain(&left), plain(&right));
                assert_eq!(plain(&left.union(&right)), &l | &r);
                assert_eq!(plain(&left.intersection(&right)), &l & &r);
                assert_eq!(left.difference(&right), set(&(&l - &r).into_iter().collect::<Vec<_>>()));
                assert_eq!(left.len() as usize, l.len());
            }
            for count in 0..9 {
                let mut rest = set(&members(a));
                let head = rest.split_off_first(count);
                assert_eq!(head.union(&rest), set(&members(a)));
                assert_eq!(head.len() as usize, members(a).len().min(count as usize));
            }
        }
    }
}
