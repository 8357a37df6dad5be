//! The small numbers and texts that rows are made of.
//!
//! Numbers are LEB128 (7 bits a byte, low first), so the counters of a young mailbox take a byte
//! each. Reading is total: anything wrong is `None`, and the row is then called damaged.

use estafette_types::{Uid, UidSet};

/// Writes the value of a row.
#[derive(Debug)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// Begins with the version byte that every value has.
    pub(crate) fn new(version: u8) -> Writer {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(version);
        Writer(bytes)
    }

    pub(crate) fn byte(mut self, value: u8) -> Writer {
        self.0.push(value);
        self
    }

    pub(crate) fn number(mut self, value: impl Into<u64>) -> Writer {
        let mut rest: u64 = value.into();
        while rest >= 0x80 {
            self.0.push(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.0.push(rest.to_le_bytes()[0]);
        self
    }

    /// A signed number, folded so that small negative ones are short too (zigzag).
    pub(crate) fn signed(self, value: i64) -> Writer {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned())
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Writer {
        self.number(text.len() as u64).raw(text.as_bytes())
    }

    /// Runs of UIDs as gaps and lengths, counted from `base`, up to the end of the value.
    pub(crate) fn runs(mut self, uids: &UidSet, base: u32) -> Writer {
        let mut at = base;
        for (first, last) in uids.runs() {
            self = self.number(first.value().saturating_sub(at)).number(last.value() - first.value());
            at = last.value();
        }
        self
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Reads the value of a row.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Expects this version.
    pub(crate) fn new(bytes: &'a [u8], version: u8) -> Option<Reader<'a>> {
        let mut reader = Reader(bytes);
        (reader.byte()? == version).then_some(reader)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7F);
            if shift == 63 && part > 1 {
                return None;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn short(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(crate) fn signed(&mut self) -> Option<i64> {
        let folded = self.number()?;
        Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    pub(crate) fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.raw(len)?).ok()
    }

    /// The rest of the value, as [`Writer::runs`] wrote it.
    pub(crate) fn runs(mut self, base: u32) -> Option<UidSet> {
        let mut runs = Vec::new();
        let mut at = base;
        while !self.0.is_empty() {
            let first = at.checked_add(self.short()?)?;
            at = first.checked_add(self.short()?)?;
            runs.push((Uid::new(first)?, Uid::new(at)?));
        }
        Some(UidSet::from_runs(runs))
    }

    /// `value`, when nothing is left over.
    pub(crate) fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(a: u64, b: i64, c: u32, text: String) {
            let bytes = Writer::new(1).number(a).signed(b).text(&text).number(c).done();
            let mut reader = Reader::new(&bytes, 1).unwrap();
            prop_assert_eq!(reader.number(), Some(a));
            prop_assert_eq!(reader.signed(), Some(b));
            prop_assert_eq!(reader.text(), Some(text.as_str()));
            prop_assert_eq!(reader.short(), Some(c));
            prop_assert_eq!(reader.end(()), Some(()));
        }

        #[test]
        fn reading_is_total(bytes: Vec<u8>) {
            let reader = || Reader(&bytes);
            let _ = (reader().number(), reader().signed(), reader().text(), reader().runs(7));
        }

        #[test]
        fn runs_round_trip(uids in proptest::collection::vec(1..5000u32, 0..60)) {
            let set: UidSet = uids.into_iter().filter_map(Uid::new).collect();
            let bytes = Writer::new(1).runs(&set, 0).done();
            prop_assert_eq!(Reader::new(&bytes, 1).unwrap().runs(0), Some(set));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(Reader(&[0xFF; 10]).number(), None);
        assert_eq!(Reader(&[0x80, 0x80, 0x80, 0x80, 0x10]).short(), None);
        assert!(Reader::new(&[2, 0], 1).is_none());
    }
}
