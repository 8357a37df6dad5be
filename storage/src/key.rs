//! Keys: big-endian parts one after the other, so that the order of bytes is the order of numbers.

use std::ops::Range;

/// Builds a key from parts.
///
/// ```
/// use estafette_storage::Key;
/// let key = Key::new().u32(7).u64(1).bytes(b"x").build();
/// assert_eq!(key, [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, b'x']);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Key {
    /// An empty key, with room for the usual parts.
    #[must_use]
    pub fn new() -> Key {
        Key(Vec::with_capacity(40))
    }

    /// Appends one byte: a kind of row.
    #[must_use]
    pub fn u8(mut self, part: u8) -> Key {
        self.0.push(part);
        self
    }

    /// Appends four bytes, big-endian.
    #[must_use]
    pub fn u32(mut self, part: u32) -> Key {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    /// Appends eight bytes, big-endian.
    #[must_use]
    pub fn u64(mut self, part: u64) -> Key {
        self.0.extend_from_slice(&part.to_be_bytes());
        self
    }

    /// Appends bytes as they are. Only the last part may vary in length.
    #[must_use]
    pub fn bytes(mut self, part: &[u8]) -> Key {
        self.0.extend_from_slice(part);
        self
    }

    /// The key.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        self.0
    }

    /// The range of all keys that begin with this one.
    #[must_use]
    pub fn range(self) -> Range<Vec<u8>> {
        prefix_range(&self.0)
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Vec<u8> {
        key.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The range of all keys that begin with `prefix`. An empty `end` means: up to the end of the family.
#[must_use]
pub fn prefix_range(prefix: &[u8]) -> Range<Vec<u8>> {
    prefix.to_vec()..successor(prefix)
}

/// The least key that is greater than every key beginning with `prefix`; empty if there is none.
#[must_use]
pub fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last.saturating_add(1));
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends() {
        assert_eq!(successor(b"ab"), b"ac");
        assert_eq!(successor(&[1, 255, 255]), [2]);
        assert_eq!(successor(&[255, 255]), [0_u8; 0]);
        assert_eq!(successor(b""), b"");
    }

    proptest! {
        #[test]
        fn range_holds_exactly_the_prefixed(prefix in proptest::collection::vec(any::<u8>(), 0..4), key in proptest::collection::vec(any::<u8>(), 0..6)) {
            let range = prefix_range(&prefix);
            let within = key >= range.start && (range.end.is_empty() || key < range.end);
            prop_assert_eq!(within, key.starts_with(&prefix));
        }
    }
}
