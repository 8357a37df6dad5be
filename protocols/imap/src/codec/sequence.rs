//! Sets of message numbers: as a client says them ([`SequenceSet`]) and as the server works with
//! them and prints them ([`NumberSet`]).
//!
//! A client's set is never expanded number by number: `1:4294967295` is one range here and stays
//! one; whoever needs its members walks the messages that exist ([`NumberSet::select`]).

use estafette_types::Uid;
use std::fmt;
use std::num::NonZeroU32;

/// How many ranges one set of a client may have.
pub const RANGES_MAX: usize = 20_000;

/// `seq-number = nz-number / "*"` (RFC 9051 §9)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceNumber {
    /// A message sequence number, or a UID after `UID`.
    Value(NonZeroU32),
    /// `*`: the largest number in use.
    Last,
}

impl SequenceNumber {
    fn resolve(self, last: u32) -> u32 {
        match self {
            SequenceNumber::Value(value) => value.get(),
            SequenceNumber::Last => last,
        }
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceNumber::Value(value) => value.fmt(f),
            SequenceNumber::Last => f.write_str("*"),
        }
    }
}

/// `seq-range = seq-number ":" seq-number`, or a single number, whose two ends are equal. The ends
/// stand in the order in which they were sent: `4:2` means the same as `2:4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceRange {
    /// The end before the colon.
    pub from: SequenceNumber,
    /// The end after it.
    pub to: SequenceNumber,
}

/// `sequence-set = (seq-number / seq-range) ["," sequence-set] / seq-last-command`
/// (RFC 9051 §9; `seq-last-command = "$"` of RFC 5182)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SequenceSet {
    /// `$`: the result that the last `SEARCH RETURN (SAVE)` kept.
    Saved,
    /// Ranges, in the order of the client, 1 to [`RANGES_MAX`] of them.
    Ranges(Vec<SequenceRange>),
}

impl SequenceSet {
    /// The set of everything, `1:*`.
    pub fn all() -> SequenceSet {
        let from = SequenceNumber::Value(NonZeroU32::MIN);
        SequenceSet::Ranges(vec![SequenceRange { from, to: SequenceNumber::Last }])
    }

    /// What the set means where `last` is the largest number in use (0 when there is none: then
    /// ranges with `*` are empty). `None` for `$`, whose meaning the session holds.
    pub fn resolve(&self, last: u32) -> Option<NumberSet> {
        let SequenceSet::Ranges(ranges) = self else { return None };
        let known = |range: &&SequenceRange| {
            last > 0 || (range.from != SequenceNumber::Last && range.to != SequenceNumber::Last)
        };
        let ends = |range: &SequenceRange| (range.from.resolve(last), range.to.resolve(last));
        Some(NumberSet::from_ranges(ranges.iter().filter(known).map(ends).collect()))
    }

    /// True when the set holds a number that is larger than `last` (then a set of sequence numbers
    /// is an error, RFC 9051 §2.3.1.2, while a set of UIDs is none).
    pub fn exceeds(&self, last: u32) -> bool {
        let SequenceSet::Ranges(ranges) = self else { return false };
        let over = |number: SequenceNumber| match number {
            SequenceNumber::Value(value) => value.get() > last,
            SequenceNumber::Last => last == 0,
        };
        ranges.iter().any(|range| over(range.from) || over(range.to))
    }
}

impl fmt::Display for SequenceSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SequenceSet::Ranges(ranges) = self else { return f.write_str("$") };
        for (i, range) in ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if range.from == range.to {
                write!(f, "{comma}{}", range.from)?;
            } else {
                write!(f, "{comma}{}:{}", range.from, range.to)?;
            }
        }
        Ok(())
    }
}

/// Numbers (UIDs or sequence numbers), kept as ranges that are sorted, apart from each other and
/// not adjacent. Printed as `uid-set` of RFC 4315 §4: `1:3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberSet {
    ranges: Vec<(u32, u32)>,
}

impl NumberSet {
    /// The empty set.
    pub const fn new() -> NumberSet {
        NumberSet { ranges: Vec::new() }
    }

    /// From ranges in any order, overlapping or reversed.
    pub fn from_ranges(mut ranges: Vec<(u32, u32)>) -> NumberSet {
        for range in &mut ranges {
            if range.0 > range.1 {
                *range = (range.1, range.0);
            }
        }
        ranges.sort_unstable();
        let mut set = NumberSet { ranges: Vec::with_capacity(ranges.len()) };
        for (from, to) in ranges {
            match set.ranges.last_mut() {
                Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
                _ => set.ranges.push((from, to)),
            }
        }
        set
    }

    /// Adds a number. Constant time when numbers come in ascending order.
    pub fn insert(&mut self, number: u32) {
        match self.ranges.last_mut() {
            Some(last) if number == last.1.saturating_add(1) => last.1 = number,
            Some(last) if number <= last.1 => self.insert_within(number),
            _ => self.ranges.push((number, number)),
        }
    }

    fn insert_within(&mut self, number: u32) {
        if !self.contains(number) {
            let mut ranges = std::mem::take(&mut self.ranges);
            ranges.push((number, number));
            *self = NumberSet::from_ranges(ranges);
        }
    }

    /// Whether the number is in the set; logarithmic in the number of ranges.
    pub fn contains(&self, number: u32) -> bool {
        let after = self.ranges.partition_point(|range| range.0 <= number);
        let before = after.checked_sub(1).and_then(|i| self.ranges.get(i));
        before.is_some_and(|range| number <= range.1)
    }

    /// True for the empty set.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers there are.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| u64::from(range.1) - u64::from(range.0) + 1).sum()
    }

    /// The smallest.
    pub fn first(&self) -> Option<u32> {
        self.ranges.first().map(|range| range.0)
    }

    /// The largest.
    pub fn last(&self) -> Option<u32> {
        self.ranges.last().map(|range| range.1)
    }

    /// The ranges, both ends included, ascending.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Every number, ascending. Only for sets that the server made or bounded itself: a client can
    /// name four thousand million numbers in twelve bytes.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|range| range.0..=range.1)
    }

    /// The members of the set among the UIDs that exist (`uids` ascending), each with its index.
    /// Time is bounded by what is found, not by what the set spans.
    pub fn select<'a>(&'a self, uids: &'a [Uid]) -> impl Iterator<Item = (usize, Uid)> + 'a {
        self.ranges.iter().flat_map(move |range| {
            let start = uids.partition_point(|uid| uid.value() < range.0);
            let within = uids.iter().enumerate().skip(start);
            within.map(|(i, uid)| (i, *uid)).take_while(move |(_, uid)| uid.value() <= range.1)
        })
    }
}

impl FromIterator<u32> for NumberSet {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> NumberSet {
        NumberSet::from_ranges(numbers.into_iter().map(|n| (n, n)).collect())
    }
}

impl FromIterator<Uid> for NumberSet {
    fn from_iter<I: IntoIterator<Item = Uid>>(uids: I) -> NumberSet {
        uids.into_iter().map(Uid::value).collect()
    }
}

impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, to)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}:{to}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn number(n: u32) -> SequenceNumber {
        NonZeroU32::new(n).map_or(SequenceNumber::Last, SequenceNumber::Value)
    }

    /// 0 stands for `*`.
    fn sequence(ranges: &[(u32, u32)]) -> SequenceSet {
        let range = |(from, to): &(u32, u32)| SequenceRange { from: number(*from), to: number(*to) };
        SequenceSet::Ranges(ranges.iter().map(range).collect())
    }

    #[test]
    fn sets_are_resolved() {
        let shown = |ranges: &[(u32, u32)], last| sequence(ranges).resolve(last).unwrap().to_string();
        assert_eq!(shown(&[(2, 4), (7, 7), (12, 0)], 15), "2:4,7,12:15");
        assert_eq!(shown(&[(4, 2), (3, 5)], 15), "2:5");
        assert_eq!(shown(&[(20, 0)], 15), "15:20");
        assert_eq!(shown(&[(0, 0)], 15), "15");
        assert_eq!(shown(&[(0, 0), (1, 0), (7, 8)], 0), "7:8");
        assert_eq!(shown(&[(1, u32::MAX), (3, 3)], 9), "1:4294967295");
        assert_eq!(SequenceSet::Saved.resolve(9), None);
        assert_eq!(SequenceSet::all().to_string(), "1:*");
        assert_eq!(sequence(&[(4, 2), (0, 0)]).to_string(), "4:2,*");
        assert!(sequence(&[(1, 0)]).exceeds(0) && sequence(&[(3, 9)]).exceeds(8));
        assert!(!sequence(&[(1, 0), (3, 8)]).exceeds(8));
    }

    #[test]
    fn selection_touches_only_what_exists() {
        let uids: Vec<Uid> = [3, 5, 8, u32::MAX].into_iter().filter_map(Uid::new).collect();
        let set = NumberSet::from_ranges(vec![(1, 4), (6, u32::MAX)]);
        let found: Vec<_> = set.select(&uids).map(|(i, uid)| (i, uid.value())).collect();
        assert_eq!(found, [(0, 3), (2, 8), (3, u32::MAX)]);
        assert_eq!(NumberSet::from_ranges(vec![(0, u32::MAX)]).len(), 1 << 32);
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(ranges in prop::collection::vec((0u32..40, 0u32..40), 0..12), more in prop::collection::vec(0u32..50, 0..12)) {
            let mut plain: BTreeSet<u32> = ranges.iter().flat_map(|(a, b)| *a.min(b)..=*a.max(b)).collect();
            let mut set = NumberSet::from_ranges(ranges);
            for n in more {
                plain.insert(n);
                set.insert(n);
            }
            prop_assert!(set.iter().eq(plain.iter().copied()));
            prop_assert!(set.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0));
            prop_assert_eq!(set.len(), plain.len() as u64);
            prop_assert_eq!((set.first(), set.last()), (plain.first().copied(), plain.last().copied()));
            prop_assert!((0..60).all(|n| set.contains(n) == plain.contains(&n)));
        }
    }
}
